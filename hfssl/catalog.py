"""Methods by name: a method is the two files methods/<name>_config.py and methods/<name>.py, found here and nowhere listed."""

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from hfssl.config import DataConfig, MethodConfig
from hfssl.data.audio_config import AudioDataConfig
from hfssl.data.image_config import ImageDataConfig
from hfssl.data.text_config import TextDataConfig
from hfssl.fields import ConfigError

if TYPE_CHECKING:
    from hfssl.objective import Objective

DATA_CONFIGS: dict[str, type[DataConfig]] = {
    "image": ImageDataConfig,
    "text": TextDataConfig,
    "audio": AudioDataConfig,
}


def method_names() -> list[str]:
    """The recipes that exist."""
    folder = Path(__file__).parent / "methods"
    return sorted(path.name.removesuffix("_config.py") for path in folder.glob("*_config.py"))


def config_of(name: str) -> type[MethodConfig]:
    """The config class of a method, without any heavy import.

    Raises:
        ConfigError: there is no such method.
    """
    if name not in method_names():
        raise ConfigError(f"there is no method {name}; there are: {', '.join(method_names())}")
    configs = [
        item
        for item in _classes(importlib.import_module(f"hfssl.methods.{name}_config"))
        if issubclass(item, MethodConfig)
    ]
    assert len(configs) == 1, f"{name}_config must define one MethodConfig"
    return configs[0]


def method(name: str) -> "tuple[type[MethodConfig], type[Objective]]":
    """(config class, objective class) of a method. Raises ConfigError where there is no such method."""
    from hfssl.objective import Objective  # torch

    config = config_of(name)
    objectives = [
        item for item in _classes(importlib.import_module(f"hfssl.methods.{name}")) if issubclass(item, Objective)
    ]
    assert len(objectives) == 1, f"{name} must define one Objective"
    return config, objectives[0]


def _classes(module: ModuleType) -> list[type]:
    """The classes that a module defines itself."""
    return [item for _, item in inspect.getmembers(module, inspect.isclass) if item.__module__ == module.__name__]
