"""What a run is told: defaults < preset or YAML file < flags, checked before anything heavy is imported.

A run's settings stand in four sections, `method`, `data`, `optim` and `loop`, each a frozen dataclass; every field is a
flag of the same name. `parse` turns a command line into a RunConfig, `settled_run` does the same with keywords of Python,
and `make_run` takes the config dataclasses themselves.
"""

import dataclasses
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hfssl import run_dir
from hfssl.config.fields import annotations_of, convert
from hfssl.config.files import is_stored_run, load_layer, preset_file, preset_names, section_types
from hfssl.config.flags import Flag, flags_of, read_flags, refuse_unknown
from hfssl.config.run_config import RunConfig
from hfssl.config.sections import WITHOUT_EFFECT, DataConfig, LoopConfig, MethodConfig, OptimConfig
from hfssl.errors import ConfigError, require
from hfssl.run_dir import JsonView

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


Config = TypeVar("Config", bound="DataclassInstance")
_LENGTH = ("max_steps", "num_epochs", "budget_hours")
_ADOPTED = {"image_size", "num_channels"}  # of a stored run these hold against what its model's config says
_TWO_LENGTHS = "budget_hours and max_steps exclude each other: set one of them"


def parse(method: type[MethodConfig], data: type[DataConfig], argv: Sequence[str]) -> RunConfig:
    """The run that the flags of a command line ask for.

    Raises:
        ConfigError: a flag is unknown, has a wrong value or no effect, or the run cannot work.
    """
    values = read_flags(run_flags(method, data), argv)
    values.pop("task", None)  # it chose `method`
    run = settled_run(method, data, values)
    _check_launch(run)
    return run


def parse_plain(config: type[Config], argv: Sequence[str]) -> Config:
    """One config dataclass from the flags of a command line, for commands without presets; raises ConfigError."""
    return settled_plain(config, read_flags(flags_of({"": config}), argv))


def settled_plain(config: type[Config], values: JsonView) -> Config:
    """One config dataclass from {flag: text or value}; raises ConfigError."""
    annotations = annotations_of(config)
    for name in values.keys() - annotations.keys():
        refuse_unknown(name, annotations, "keyword")
    return config(**{name: convert(f"--{name}", value, annotations[name]) for name, value in values.items()})


def run_flags(method: type[MethodConfig], data: type[DataConfig]) -> list[Flag]:
    """All flags of a run, that of its preset first."""
    presets = ", ".join(preset_names(method.recipe))
    first = [Flag("config", "", str, None, f"a preset ({presets}) or a YAML file", True)]
    if method.needs_labels:
        first.append(Flag("task", "", str | None, None, "the task (default: found by the columns of the data)", True))
    return first + flags_of(section_types(method, data))


def settled_run(method: type[MethodConfig], data: type[DataConfig], values: JsonView) -> RunConfig:
    """The run that {flag: text or value} asks for, on top of the preset or file that `config` names.

    Raises:
        ConfigError: a flag is unknown, has a wrong value or no effect, or the run cannot work.
    """
    run, written = _layered(method, data, values)
    if run.data.dataset is None:
        raise ConfigError(f"the preset {run.preset} brings no data: add --dataset (a folder, a file or a Hub id)")
    given = run.given | written
    require(not {"budget_hours", "max_steps"} <= given, _TWO_LENGTHS)
    _check_optimizer(run.optim, given)
    _check_run(run)
    return dataclasses.replace(run, given=given)


def layered_run(method: type[MethodConfig], data: type[DataConfig], argv: Sequence[str]) -> RunConfig:
    """The settings that the flags of a command line give, to be shown: data may be missing, nothing else is checked."""
    values = read_flags(run_flags(method, data), argv)
    values.pop("task", None)
    return _layered(method, data, values)[0]


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


def _layered(method: type[MethodConfig], data: type[DataConfig], values: JsonView) -> tuple[RunConfig, set[str]]:
    """(the run, the names that a file of the user's sets)."""
    flags = dict(values)
    chosen = flags.pop("config", None)
    if chosen is None:
        chosen = "small" if "dataset" in flags else "demo"
    known = [flag.name for flag in flags_of(section_types(method, data))]
    for name in flags.keys() - set(known):
        refuse_unknown(name, known, "keyword")
    path = preset_file(method.recipe, chosen)
    is_preset = path.is_file()
    layer = load_layer(path if is_preset else Path(chosen), method, data)
    for name in _LENGTH if any(name in flags for name in _LENGTH) else ():
        layer["loop"].pop(name, None)  # a length that is given replaces the file's, however that was said
    if is_preset and "dataset" in flags:  # the columns and splits of a preset are those of its own data
        layer["data"] = {name: value for name, value in layer["data"].items() if not _is_of_one_dataset(name)}
    written = set() if is_preset else {name for part in layer.values() for name in part}
    if not is_preset and is_stored_run(Path(chosen)):
        written &= _ADOPTED
    configs = {}
    for section, config in section_types(method, data).items():
        annotations = annotations_of(config)
        mine = {name: convert(f"--{name}", flags[name], annotations[name]) for name in annotations if name in flags}
        configs[section] = config(**(layer[section] | mine))
    return RunConfig(recipe=method.recipe, preset=Path(chosen).stem, **configs, given=frozenset(flags)), written


def _is_of_one_dataset(name: str) -> bool:
    return name.endswith("_column") or name in ("dataset", "dataset_config", "split")


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
        raise ConfigError(f"--{without_effect[0]} has no effect with --{source}, which decides it: leave it out")
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
