"""A run as one command that anybody can start: from its config.yaml, without local paths."""

import dataclasses
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from hfssl.catalog import DATA_CONFIGS
from hfssl.config.fields import to_plain
from hfssl.config.files import SECTION_NAMES, preset_file, preset_names
from hfssl.config.sections import DataConfig, LoopConfig, OptimConfig
from hfssl.reporting.markdown import one_line
from hfssl.run_dir import Json, JsonView

PLACEHOLDERS = {"dataset": "path/to/data", "init_from": "path/to/checkpoint", "model_config": "path/to/config"}
_START = ("loop", "init_from")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_LENGTH = ("max_steps", "num_epochs")


class _Form(NamedTuple):
    """How the command of one kind of run is written.

    words: what stands before the recipe; said_otherwise: settings that another one says.
    """

    words: tuple[str, ...] = ()
    said_otherwise: frozenset[str] = frozenset()


_OF_TASK = _Form(("finetune", "--task"), frozenset({"init_from"}))  # which --model says
FORMS = {"encoder": _Form(), "language_model": _Form(), "task": _OF_TASK, "label_study": _OF_TASK}


def hub_id(config: JsonView, section: str, name: str) -> str | None:
    """The Hub id that a setting holds; None for a local path, a demo set, or a run that does not say which it is."""
    value = config[section][name]
    if value is None or name in config.get("local", PLACEHOLDERS) or not _HUB_ID.fullmatch(value):
        return None
    return str(value)


def public_settings(config: JsonView) -> dict[str, Json]:
    """The sections without the settings that a resume may change (folders, logging, workers), local paths replaced."""
    unimportant = {
        item.name
        for section in (DATA_CONFIGS[config["modality"]], OptimConfig, LoopConfig)
        for item in dataclasses.fields(section)
        if item.metadata["resume"] == "may_change"
    } | FORMS[config["kind"]].said_otherwise
    return {
        section: {name: _public_value(config, section, name) for name in config[section] if name not in unimportant}
        for section in SECTION_NAMES
    }


_SIZES = (
    "patch_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
)  # a model config's
_OF_IMAGES = ("image_size", "num_channels")  # a model config's, unless the run says another


def public_command(config: JsonView, environment: JsonView) -> str:
    """A command whose run has this run's settings: what its preset and the defaults do not already say."""
    recipe, preset = config["recipe"], config["preset"]
    shipped = preset_names(recipe)
    base = next((name for name in (preset, "demo", "small") if name in shipped), None)
    launcher = []
    if environment.get("num_processes", 1) > 1:
        launcher += ["--num_processes", str(environment["num_processes"])]
    if environment.get("mixed_precision", "no") != "no":
        launcher += ["--mixed_precision", environment["mixed_precision"]]
    command = ["accelerate", "launch", *launcher, "-m", "hfssl"] if launcher else ["hfssl"]
    command += [*FORMS[config["kind"]].words, recipe]
    command += [] if base is None else ["--config", base]
    said = _said_already(recipe, base, DATA_CONFIGS[config["modality"]])
    unused = config["without_effect"]
    architecture = config.get("model_config") or {}
    for section, name, value in _flat(public_settings(config)):
        of_model = section == "method" and name in _SIZES and bool(architecture)
        from_checkpoint = of_model or (value is not None and architecture.get(name) in (value, [value, value]))
        overrules = name in _OF_IMAGES and architecture.get(name, value) != value
        unsaid = value is None and name in _LENGTH
        is_said = value == said.get((section, name)) and not overrules
        if (
            is_said
            or name in unused
            or from_checkpoint
            or unsaid
            or name == "budget_hours"
            or _goes_without(config, said, section, name)
        ):
            continue  # a budget was turned into steps, which say the same on any machine
        command += [f"--{name}", *([_text(part) for part in value] if isinstance(value, list) else [_text(value)])]
    return shlex.join(command)


def _goes_without(config: JsonView, said: Mapping[tuple[str, str], Any], section: str, name: str) -> bool:
    """Whether a task's own setting has its default, which no preset changes; only tasks record what was changed."""
    changed = config.get("changed")
    return section == "method" and changed is not None and name not in changed and (section, name) not in said


def _said_already(recipe: str, preset: str | None, data: type[DataConfig]) -> dict[tuple[str, str], object]:
    """(section, name) -> value of the defaults that all methods share, and of the preset over them."""
    defaults = {"data": to_plain(data()), "optim": to_plain(OptimConfig()), "loop": to_plain(LoopConfig())}
    said = {(section, name): value for section, name, value in _flat(defaults)}
    if preset is not None:
        file = preset_file(recipe, preset)
        said |= {
            (section, name): value for section, name, value in _flat(yaml.safe_load(file.read_text(encoding="utf-8")))
        }
    return said


def _flat(sections: Mapping[str, JsonView]) -> Iterator[tuple[str, str, object]]:
    for section, values in sections.items():
        for name, value in values.items():
            yield section, name, value


def _public_value(config: JsonView, section: str, name: str) -> object:
    value = config[section][name]
    if not isinstance(value, str):
        return value
    if (section, name) == ("method", "model"):  # a task's, which records it as what the run starts from
        return _public_value(config, *_START)
    if name in PLACEHOLDERS:
        is_demo = section == "data" and value.startswith("demo:")
        return value if is_demo else hub_id(config, section, name) or PLACEHOLDERS[name]
    return "not-shown" if re.search(r"[/\\~]", value) else one_line(value)


def _text(value: object) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
