"""Which task a command asks for: by --task, else by the columns of its data where these leave no doubt."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hfssl.catalog import DATA_CONFIGS, task_config_of, task_names
from hfssl.config.sections import MethodConfig
from hfssl.data.folder_files import holds_files
from hfssl.data.location_check import TABLE_SUFFIXES
from hfssl.errors import ConfigError, one_line, require
from hfssl.run_dir import Json
from hfssl.tasks.columns import Columns, Holds
from hfssl.tasks.task_config import TaskConfig


def named_task(argv: Sequence[str]) -> type[MethodConfig] | None:
    """The config class of the task that --task names, None without it. Raises ConfigError where there is no such task."""
    name = _told(argv).task
    return None if name is None else task_config_of(name)


def task_of(argv: Sequence[str]) -> type[MethodConfig]:
    """The config class of the task, by --task or by the columns of --dataset; raises ConfigError."""
    told = _told(argv)
    if told.task is not None:
        return task_config_of(told.task)
    require(
        told.dataset is not None, f"name the data with --dataset, or the task with --task: {', '.join(task_names())}"
    )
    return task_config_of(task_for(told.dataset, told.dataset_config))


def _told(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("--task", "--dataset", "--dataset_config"):
        parser.add_argument(name)
    try:
        return parser.parse_known_args(argv)[0]
    except argparse.ArgumentError as error:
        raise ConfigError(str(error)) from error


def task_for(dataset: str, dataset_config: str | None = None) -> str:
    """The task that a data set's columns are for.

    Raises:
        ConfigError: it cannot be opened, or several tasks or none fit.
    """
    demos = {task.demo: name for name, task in _tasks().items() if task.demo is not None}
    if dataset in demos:
        return demos[dataset]
    folder = Path(dataset).expanduser()
    if folder.is_dir() and (kind := _kind_of_files(folder)) is not None:
        return kind
    features = _features(dataset, dataset_config)
    fitting = fitting_tasks(features)
    require(
        len(fitting) == 1,
        f"the columns of {dataset} ({', '.join(features)}) fit {' and '.join(fitting) or 'no task'}: name the task with --task "
        f"({', '.join(task_names())})",
    )
    return fitting[0]


def _kind_of_files(folder: Path) -> str | None:
    """Of a folder of images or recordings in class folders; None where it holds tables, or recordings with transcripts."""
    if holds_files(folder, TABLE_SUFFIXES):
        return None
    fitting = {task.modality: name for name, task in _tasks().items() if task.takes_class_folders}
    found = (
        modality
        for modality, data in DATA_CONFIGS.items()
        if modality in fitting and holds_files(folder, data.suffixes)
    )
    modality = next(found, None)
    return None if modality is None else fitting[modality]


def fitting_tasks(features: Json) -> list[str]:
    """The tasks that columns of these types are for."""
    columns = _columns(features)
    return [name for name, task in _tasks().items() if task.fits(columns)]


def _tasks() -> dict[str, type[TaskConfig]]:
    """Every task by its name."""
    found = {name: task_config_of(name) for name in task_names()}
    return {name: config for name, config in found.items() if issubclass(config, TaskConfig)}


def _columns(features: Json) -> Columns:
    from datasets import Audio, ClassLabel, Image, List, Value

    def named(*kinds: type) -> list[str]:
        return [name for name, feature in features.items() if isinstance(feature, kinds)]

    texts = [name for name in named(Value) if features[name].dtype in ("string", "large_string")]
    signs: dict[Holds, bool] = {
        "questions": {"question", "context", "answers"} <= features.keys(),
        "images": bool(named(Image)),
        "recordings": bool(named(Audio)),
        "words": len(named(List)) >= 2,
        "texts": bool(texts),
    }
    holds: Holds = next((what for what, is_there in signs.items() if is_there), "nothing")
    return Columns(holds, bool(named(ClassLabel)) or "label" in features, bool(texts))


def _features(dataset: str, dataset_config: str | None) -> Json:
    """The columns and their types of the data, opened as the task will open it."""
    from datasets import load_dataset_builder
    from datasets.exceptions import DatasetsError

    from hfssl.data.local_columns import local_features

    path = Path(dataset).expanduser()
    try:
        if path.exists():
            return local_features(path, dataset_config)
        return dict(load_dataset_builder(dataset, dataset_config).info.features or {})
    except ConfigError:
        raise
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"--dataset {dataset} cannot be opened: {one_line(error)}; or name --task") from error
