"""Methods and tasks by name: each is the two files <name>_config.py and <name>.py, found here and nowhere listed."""

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
    """The recipes of pretraining that exist."""
    return _names("methods")


def task_names() -> list[str]:
    """The downstream tasks that exist."""
    return [name for name in _names("tasks") if name != "task"]


def config_of(name: str) -> type[MethodConfig]:
    """The config class of a method, without any heavy import.

    Raises:
        ConfigError: there is no such method.
    """
    if name not in method_names():
        raise ConfigError(f"there is no method {name}; there are: {', '.join(method_names())}")
    return _config("methods", name)


def task_config_of(name: str) -> type[MethodConfig]:
    """The same for a task."""
    if name not in task_names():
        raise ConfigError(f"there is no task {name}; there are: {', '.join(task_names())}")
    return _config("tasks", name)


def method(name: str) -> "tuple[type[MethodConfig], type[Objective]]":
    """(config class, objective class) of a method. Raises ConfigError where there is no such method."""
    return config_of(name), _objective("methods", name)


def task(name: str) -> "tuple[type[MethodConfig], type[Objective]]":
    """The same for a task."""
    return task_config_of(name), _objective("tasks", name)


def objective_of(recipe: str) -> "tuple[type[MethodConfig], type[Objective]]":
    """The same for the recipe of a run, a method or a task."""
    return task(recipe) if recipe in task_names() else method(recipe)


def _names(folder: str) -> list[str]:
    files = (Path(__file__).parent / folder).glob("*_config.py")
    return sorted(path.name.removesuffix("_config.py") for path in files)


def _config(folder: str, name: str) -> type[MethodConfig]:
    module = importlib.import_module(f"hfssl.{folder}.{name}_config")
    configs = [item for item in _classes(module) if issubclass(item, MethodConfig)]
    assert len(configs) == 1, f"{name}_config must define one MethodConfig"
    return configs[0]


def _objective(folder: str, name: str) -> "type[Objective]":
    from hfssl.objective import Objective  # torch

    module = importlib.import_module(f"hfssl.{folder}.{name}")
    objectives = [item for item in _classes(module) if issubclass(item, Objective)]
    assert len(objectives) == 1, f"{name} must define one Objective"
    return objectives[0]


def _classes(module: ModuleType) -> list[type]:
    """The classes that a module defines itself."""
    return [item for _, item in inspect.getmembers(module, inspect.isclass) if item.__module__ == module.__name__]
