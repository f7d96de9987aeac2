"""Settings in files: the presets that a recipe ships, a YAML file of the user's, a run's own config.yaml."""

from pathlib import Path
from typing import Any

import yaml

from hfssl.config.fields import annotations_of, convert
from hfssl.config.flags import refuse_unknown
from hfssl.config.sections import DataConfig, LoopConfig, MethodConfig, OptimConfig
from hfssl.errors import ConfigError, one_line, require
from hfssl.limited_yaml import parsed_yaml
from hfssl.run_dir import Json

_PACKAGE = Path(__file__).parents[1]
STORED_BESIDE = (
    "layout",
    "kind",
    "modality",
    "rows_are",
    "digest",
    "digest_of_any_length",
    "local",
    "without_effect",
    "changed",
    "model_config",
)  # what a run's config.yaml holds in addition to its sections
SECTION_NAMES = ("method", "data", "optim", "loop")
_LARGEST_YAML_BYTES = 1_000_000


def section_types(method: type[MethodConfig], data: type[DataConfig]) -> dict[str, type]:
    """Section name -> its dataclass."""
    return {"method": method, "data": data, "optim": OptimConfig, "loop": LoopConfig}


def preset_names(recipe: str) -> list[str]:
    """The presets that a recipe ships."""
    return sorted(path.stem for path in _presets(recipe).glob("*.yaml"))


def preset_file(recipe: str, name: str) -> Path:
    """Where a preset lies, whether or not it exists."""
    return _presets(recipe) / f"{name}.yaml"


def _presets(recipe: str) -> Path:
    kind = "methods" if (_PACKAGE / "methods" / recipe).is_dir() else "tasks"
    return _PACKAGE / kind / recipe / "presets"


def model_config_file(name: str) -> str:
    """Where the transformers config lies that hfssl ships under this name, else the name itself: a Hub id or a path."""
    shipped = _PACKAGE / "models" / "configs" / f"{name}.json"
    return str(shipped) if shipped.is_file() and not Path(name).exists() else name


def is_stored_run(path: Path) -> bool:
    """A run's own config.yaml lists every setting, chosen by somebody or not."""
    return any(line.startswith("digest:") for line in path.read_text(encoding="utf-8").splitlines())


def load_layer(path: Path, method: type[MethodConfig], data: type[DataConfig]) -> dict[str, Json]:
    """The sections of a YAML file, checked and converted; a run's own config.yaml is one such file.

    Raises:
        ConfigError: the file is missing, too large, not YAML, or holds an unknown key or a value of the wrong type.
    """
    if not path.is_file():
        names = ", ".join(preset_names(method.recipe))
        raise ConfigError(f"--config {path} is neither a preset ({names}) nor a file")
    require(path.stat().st_size <= _LARGEST_YAML_BYTES, f"{path} is larger than {_LARGEST_YAML_BYTES} bytes")
    try:
        content = parsed_yaml(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is not valid YAML: {one_line(error)}") from error
    require(isinstance(content, dict), f"{path} must hold the sections {', '.join(SECTION_NAMES)}")
    recipe = content.pop("recipe", method.recipe)
    require(recipe == method.recipe, f"{path} is of the recipe {recipe}, not {method.recipe}")
    for name in ("preset", *STORED_BESIDE):
        content.pop(name, None)
    for name in content:
        if name not in SECTION_NAMES:
            refuse_unknown(str(name), set(SECTION_NAMES), f"section of {path.name}:")
    types = section_types(method, data)
    return {section: _checked_section(path, section, content.get(section), types[section]) for section in SECTION_NAMES}


def _checked_section(path: Path, section: str, values: Any, config: type) -> Json:
    values = {} if values is None else values
    require(isinstance(values, dict), f"{path.name}: {section} must hold `name: value` lines, got {values!r}")
    annotations = annotations_of(config)
    for name in values:
        if name not in annotations:
            refuse_unknown(str(name), set(annotations), f"key in {path.name}, {section}:")
    return {
        name: convert(f"{section}.{name} in {path.name}", value, annotations[name]) for name, value in values.items()
    }


def preset_values(method: type[MethodConfig], data: type[DataConfig]) -> dict[str, Json]:
    """Preset -> setting -> the value that it gives, for every preset of a recipe."""
    layers = {name: load_layer(preset_file(method.recipe, name), method, data) for name in preset_names(method.recipe)}
    return {
        name: {key: value for part in layer.values() for key, value in part.items()} for name, layer in layers.items()
    }
