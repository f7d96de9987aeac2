"""Methods and tasks by name: each is a folder with `config.py` and `objective.py`, found here and listed nowhere."""

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from hfssl.config.paper import Paper
from hfssl.config.sections import DataConfig, MethodConfig
from hfssl.data.audio.config import AudioDataConfig
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.texts.config import TextDataConfig
from hfssl.errors import ConfigError

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
    return _names("tasks")


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


def settings_of(recipe: str) -> type[MethodConfig]:
    """The same for the recipe of a run, a method or a task."""
    return task_config_of(recipe) if recipe in task_names() else config_of(recipe)


def method(name: str) -> "tuple[type[MethodConfig], type[Objective]]":
    """(config class, objective class) of a method. Raises ConfigError where there is no such method."""
    return config_of(name), _objective("methods", name)


def task(name: str) -> "tuple[type[MethodConfig], type[Objective]]":
    """The same for a task."""
    return task_config_of(name), _objective("tasks", name)


def objective_of(recipe: str) -> "tuple[type[MethodConfig], type[Objective]]":
    """The same for the recipe of a run, a method or a task."""
    return task(recipe) if recipe in task_names() else method(recipe)


def paper_of(recipe: str) -> Paper | None:
    """The paper of a method; None for a task."""
    if recipe not in method_names():
        return None
    paper: Paper = importlib.import_module(f"hfssl.methods.{recipe}.paper").PAPER
    return paper


def _names(folder: str) -> list[str]:
    return sorted(path.parent.name for path in (Path(__file__).parent / folder).glob("*/config.py"))


def _config(folder: str, name: str) -> type[MethodConfig]:
    module = importlib.import_module(f"hfssl.{folder}.{name}.config")
    configs = [item for item in _classes(module) if issubclass(item, MethodConfig)]
    assert len(configs) == 1, f"{name}/config.py must define one MethodConfig"
    return configs[0]


def _objective(folder: str, name: str) -> "type[Objective]":
    from hfssl.objective import Objective  # torch

    module = importlib.import_module(f"hfssl.{folder}.{name}.objective")
    objectives = [item for item in _classes(module) if issubclass(item, Objective)]
    assert len(objectives) == 1, f"{name}/objective.py must define one Objective"
    return objectives[0]


def _classes(module: ModuleType) -> list[type]:
    """The classes that a module defines itself."""
    return [item for _, item in inspect.getmembers(module, inspect.isclass) if item.__module__ == module.__name__]
