"""What a run is told: defaults < preset or YAML file < command line, checked before anything heavy is imported.

A run's settings stand in four sections, `method`, `data`, `optim` and `loop`, each a frozen dataclass; every field is a
flag of the same name. `parse` turns the command line into a `Run`; `make_run` does the same from Python.
"""

import argparse
import dataclasses
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from hfssl import run_dir
from hfssl.config.fields import annotations_of, convert
from hfssl.config.files import (
    is_stored_run,
    load_layer,
    preset_file,
    preset_names,
    refuse_unknown,
    section_types,
)
from hfssl.config.run_config import RunConfig
from hfssl.config.sections import WITHOUT_EFFECT, DataConfig, LoopConfig, MethodConfig, OptimConfig
from hfssl.errors import ConfigError, exit_with, require

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


Config = TypeVar("Config", bound="DataclassInstance")
_LENGTH = ("max_steps", "num_epochs", "budget_hours")
_ADOPTED = {"image_size", "num_channels"}  # of a stored run these hold against what its model's config says
_TWO_LENGTHS = "budget_hours and max_steps exclude each other: set one of them"


def parse(method: type[MethodConfig], data: type[DataConfig], argv: Sequence[str] | None = None) -> RunConfig:
    """The run that the command line asks for.

    Args:
        method, data: config classes of the recipe.
        argv: flags; None takes those of this process. An error is then printed as one line, with exit code 2.
    """
    try:
        values, chosen = _read_flags(method, data, sys.argv[1:] if argv is None else argv)
        run = _assemble(method, data, values, chosen)
        _check_launch(run)
        return dataclasses.replace(run, from_command_line=argv is None)
    except ConfigError as error:
        if argv is not None:
            raise
        exit_with(error)


def parse_plain(config: type[Config], description: str, argv: Sequence[str] | None = None) -> Config:
    """One config dataclass from the command line, for scripts without presets; errors as in `parse`."""
    parser = _Parser(description=description, allow_abbrev=False)
    annotations = annotations_of(config)
    for item in dataclasses.fields(config):
        _add_flag(parser, item, annotations[item.name])
    try:
        parsed, unknown = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
        if unknown:
            refuse_unknown(unknown[0], {f"--{name}" for name in annotations}, "flag")
        return config(**{name: convert(f"--{name}", value, annotations[name]) for name, value in vars(parsed).items()})
    except ConfigError as error:
        if argv is not None:
            raise
        exit_with(error)


def make_run(method: MethodConfig, data: DataConfig, optim: OptimConfig, loop: LoopConfig) -> RunConfig:
    """A run from configs made in Python; what differs from its default counts as given.

    Raises:
        ConfigError: where they do not fit together.
    """
    changed = {
        item.name
        for config in (method, data, optim, loop)
        for item in dataclasses.fields(config)
        if getattr(config, item.name) != item.default
    }
    run = RunConfig(
        recipe=method.recipe,
        preset="python",
        method=method,
        data=data,
        optim=optim,
        loop=loop,
        given=frozenset(changed) - method.architecture_fields,
    )
    require(not {"budget_hours", "max_steps"} <= changed, _TWO_LENGTHS)
    _check_optimizer(optim, run.given)
    _check_run(run)
    return run


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def _read_flags(
    method: type[MethodConfig], data: type[DataConfig], argv: Sequence[str]
) -> tuple[dict[str, Any], str | None]:
    """({flag: text}, --config) of the flags that were given."""
    presets = ", ".join(preset_names(method.recipe))
    recipe = "finetune" if method.needs_labels else method.recipe
    about = sys.modules[method.__module__].__doc__
    parser = _Parser(prog=f"recipes/{recipe}.py", description=about, allow_abbrev=False)
    parser.add_argument(
        "--config", default=argparse.SUPPRESS, metavar="NAME_OR_FILE", help=f"a preset ({presets}) or a YAML file"
    )
    known = {"config"}
    if method.needs_labels:
        parser.add_argument(
            "--task", default=argparse.SUPPRESS, help=f"{method.recipe}, or found by the data's columns"
        )
        known.add("task")
    for section, config in section_types(method, data).items():
        group = parser.add_argument_group(section)
        annotations = annotations_of(config)
        for item in dataclasses.fields(config):
            known.add(item.name)
            _add_flag(group, item, annotations[item.name])
    parsed, unknown = parser.parse_known_args(argv)
    if unknown:
        refuse_unknown(unknown[0], {f"--{name}" for name in known}, "flag")
    values = vars(parsed)
    values.pop("task", None)  # it chose `method`
    return values, values.pop("config", None)


def _add_flag(group: Any, item: "dataclasses.Field[Any]", annotation: Any) -> None:
    takes: dict[str, Any] = {}
    if annotation is bool:
        takes = {"nargs": "?", "const": "true"}
    elif "tuple[" in str(annotation):
        takes = {"nargs": "+"}
    default = "none" if item.default is None else item.default
    help_text = f"{item.metadata['help']} [{default}]".replace("%", "%%")
    group.add_argument(f"--{item.name}", default=argparse.SUPPRESS, metavar="X", help=help_text, **takes)


def _assemble(
    method: type[MethodConfig], data: type[DataConfig], flags: Mapping[str, Any], chosen: str | None
) -> RunConfig:
    if chosen is None:
        chosen = "small" if "dataset" in flags else "demo"
    path = preset_file(method.recipe, chosen)
    is_preset = path.is_file()
    layer = load_layer(path if is_preset else Path(chosen), method, data)
    for name in _LENGTH if any(name in flags for name in _LENGTH) else ():
        layer["loop"].pop(name, None)  # a length on the command line stands for the file's, however that was said
    written = set() if is_preset else {name for part in layer.values() for name in part}
    if not is_preset and is_stored_run(Path(chosen)):
        written &= _ADOPTED
    configs = {}
    for section, config in section_types(method, data).items():
        annotations = annotations_of(config)
        mine = {name: convert(f"--{name}", flags[name], annotations[name]) for name in annotations if name in flags}
        configs[section] = config(**(layer[section] | mine))
    if configs["data"].dataset is None:
        raise ConfigError(f"the preset {chosen} brings no data: add --dataset (a folder, a file or a Hub id)")
    run = RunConfig(recipe=method.recipe, preset=Path(chosen).stem, **configs, given=frozenset(flags))
    given = run.given | written
    require(not {"budget_hours", "max_steps"} <= given, _TWO_LENGTHS)
    _check_optimizer(run.optim, given)
    _check_run(run)
    return dataclasses.replace(run, given=given)


def _check_run(run: RunConfig) -> None:
    loop = run.loop
    has_length = any(getattr(loop, name) is not None for name in _LENGTH)
    require(has_length, f"set one of {', '.join(_LENGTH)}")
    if isinstance(loop.per_device_batch_size, int):
        world = int(os.environ.get("WORLD_SIZE", "1"))
        require(
            loop.global_batch_size % (loop.per_device_batch_size * world) == 0,
            f"global_batch_size {loop.global_batch_size} must be a multiple of per_device_batch_size "
            f"{loop.per_device_batch_size} x {world} process(es)",
        )
    tracker = loop.report_to
    require(
        tracker == "none" or importlib.util.find_spec(tracker) is not None,
        f"--report_to {tracker}: the package {tracker} is not installed; pip install {tracker}",
    )
    without_effect = sorted(run.method.architecture_fields & run.given)
    if without_effect and (loop.model_config or loop.init_from):
        source = "init_from" if loop.init_from else "model_config"
        raise ConfigError(f"--{without_effect[0]} has no effect beside --{source}, which decides it: leave it out")
    for name, reason in run.method.without_effect().items():
        require(name not in run.given, f"--{name} has no effect {reason}")
    run.data.check()
    run.method.check_batch(loop.global_batch_size)
    run.method.check_start(loop.init_from)
    if not (loop.model_config or loop.init_from):
        run.method.check(run.data)


def _check_optimizer(optim: OptimConfig, given: frozenset[str]) -> None:
    without_effect = sorted(WITHOUT_EFFECT[optim.optimizer] & given)
    if without_effect:
        raise ConfigError(f"--{without_effect[0]} has no effect with --optimizer {optim.optimizer}: leave it out")


def _check_launch(run: RunConfig) -> None:
    """What only the process that was started can know: only rank 0 looks, the others would race with it."""
    if int(os.environ.get("RANK", "0")) == 0 and run.loop.output_dir is not None:
        problem = run_dir.why_not_usable(Path(run.loop.output_dir))
        require(problem is None, f"--output_dir {run.loop.output_dir} {problem}")
