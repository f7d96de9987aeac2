"""Every command of `hfssl`: its name, its group, a line about it, its flags, and the function that does it.

Nothing heavy is imported before flags have been read without an error.
"""

import dataclasses
import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from hfssl.catalog import DATA_CONFIGS, config_of, method_names, task_config_of, task_names
from hfssl.commands.task_choice import named_task, task_of
from hfssl.config.files import preset_values
from hfssl.config.flags import Flag, flags_of
from hfssl.config.help import Presets
from hfssl.config.parse import layered_run, parse, parse_plain, run_flags
from hfssl.config.run_config import RunConfig
from hfssl.config.sections import MethodConfig
from hfssl.errors import ConfigError, require

if TYPE_CHECKING:
    from hfssl.tasks.task import Task

Group = Literal["pretrain", "use", "publish"]
GROUPS: dict[Group, str] = {
    "pretrain": "Pretrain on data without labels",
    "use": "Use a model",
    "publish": "Publish",
}
_MOST_FLAGS = 20  # that a help text shows at once
_SAMPLES = {"image": "images", "text": "texts", "audio": "recordings"}


class Command(ABC):
    """One subcommand."""

    name: str
    group: Group
    summary: str
    arguments: tuple[str, ...]  # an example of what follows the name
    is_light: bool = False  # answers without torch

    @abstractmethod
    def flags(self, argv: Sequence[str]) -> list[Flag]:
        """The flags that may follow; `argv` names the task or the method where it decides them."""

    def presets(self, argv: Sequence[str]) -> Presets:
        """Preset -> flag -> value, where there are presets."""
        return {}

    def notes(self, argv: Sequence[str]) -> list[str]:
        """Lines below the flags in a help text."""
        return []

    @abstractmethod
    def read(self, argv: Sequence[str]) -> Any:
        """What the flags ask for, checked without heavy imports; raises ConfigError."""

    def resolved(self, argv: Sequence[str]) -> RunConfig:
        """The settings of the run that the flags ask for, to be shown; raises ConfigError where there are no presets."""
        raise ConfigError(f"--print_config: {self.name} has no presets; its flags: hfssl {self.name} --help")

    @abstractmethod
    def run(self, config: Any) -> Any:
        """Do it."""


class Pretrain(Command):
    """Pretraining by one method."""

    group = "pretrain"

    def __init__(self, name: str) -> None:
        self.name = name
        self.method = config_of(name)
        self.data = DATA_CONFIGS[self.method.modality]
        self.summary = str(sys.modules[self.method.__module__].__doc__).splitlines()[0]
        self.arguments = ("--dataset", f"path/to/{_SAMPLES[self.method.modality]}")

    def flags(self, argv: Sequence[str]) -> list[Flag]:
        return run_flags(self.method, self.data)

    def presets(self, argv: Sequence[str]) -> Presets:
        return preset_values(self.method, self.data)

    def notes(self, argv: Sequence[str]) -> list[str]:
        return [
            f"presets side by side: hfssl presets {self.name}; resolved settings as YAML: --config NAME --print_config"
        ]

    def read(self, argv: Sequence[str]) -> Any:
        return parse(self.method, self.data, argv)

    def resolved(self, argv: Sequence[str]) -> RunConfig:
        return layered_run(self.method, self.data, argv)

    def run(self, config: Any) -> Any:
        from hfssl.catalog import method
        from hfssl.commands.pretrain import pretrain

        return pretrain(method(self.name)[1], config)


class Finetune(Command):
    """Training on labelled data; the task decides the flags."""

    name = "finetune"
    group = "use"
    summary = "Train a pretrained model for a task on labelled data; measure whether pretraining pays"
    arguments = ("--model", "runs/mae-000", "--dataset", "path/to/labelled/images")

    def flags(self, argv: Sequence[str]) -> list[Flag]:
        task = named_task(argv)
        if task is not None:
            return run_flags(task, DATA_CONFIGS[task.modality])
        return _common(
            [run_flags(config, DATA_CONFIGS[config.modality]) for config in map(task_config_of, task_names())]
        )

    def presets(self, argv: Sequence[str]) -> Presets:
        task = named_task(argv)
        return {} if task is None else preset_values(task, DATA_CONFIGS[task.modality])

    def notes(self, argv: Sequence[str]) -> list[str]:
        if named_task(argv) is not None:
            return []
        return [f"flags of one task: hfssl finetune --task TASK --help; tasks: {', '.join(task_names())}"]

    def read(self, argv: Sequence[str]) -> Any:
        task = task_of(argv)
        return parse(task, DATA_CONFIGS[task.modality], argv)

    def resolved(self, argv: Sequence[str]) -> RunConfig:
        task = task_of(argv)
        return layered_run(task, DATA_CONFIGS[task.modality], argv)

    def run(self, config: Any) -> Any:
        from hfssl.catalog import task
        from hfssl.commands.finetune import finetune

        return finetune(cast("type[Task]", task(config.recipe)[1]), config)


class Plan(Command):
    """What a run of a method would take; the method comes first, then its flags."""

    name = "plan"
    group = "pretrain"
    summary = "Say how long a run would take, how much memory, at what cost, from 30 real steps"
    arguments = ("mae", "--dataset", "path/to/images")

    def flags(self, argv: Sequence[str]) -> list[Flag]:
        method = _first_method(argv)
        return [] if method is None else run_flags(method, DATA_CONFIGS[method.modality])

    def presets(self, argv: Sequence[str]) -> Presets:
        method = _first_method(argv)
        return {} if method is None else preset_values(method, DATA_CONFIGS[method.modality])

    def notes(self, argv: Sequence[str]) -> list[str]:
        return [f"methods: {', '.join(method_names())}"]

    def read(self, argv: Sequence[str]) -> Any:
        names = ", ".join(method_names())
        require(
            bool(argv) and not argv[0].startswith("-"), f"name the method first: hfssl plan METHOD; methods: {names}"
        )
        method = config_of(argv[0])
        return parse(method, DATA_CONFIGS[method.modality], argv[1:])

    def run(self, config: Any) -> Any:
        from hfssl.commands.plan import plan

        return plan(config)


class Plain(Command):
    """A command that is one config dataclass and one function of it, each named by `module:name`.

    positional: the field that a first word without a flag sets.
    """

    def __init__(
        self,
        name: str,
        group: Group,
        summary: str,
        *,
        arguments: str,
        config: str,
        function: str,
        positional: str | None = None,
        is_light: bool = False,
    ) -> None:
        self.name, self.group, self.summary, self.arguments = name, group, summary, tuple(arguments.split())
        self.config, self.function, self.positional = config, function, positional
        self.is_light = is_light

    def flags(self, argv: Sequence[str]) -> list[Flag]:
        flags = flags_of({"": _named(self.config)})
        return flags if len(flags) > _MOST_FLAGS else [dataclasses.replace(flag, is_basic=True) for flag in flags]

    def read(self, argv: Sequence[str]) -> Any:
        if self.positional is not None and argv and not argv[0].startswith("-"):
            argv = [f"--{self.positional}", *argv]
        return parse_plain(_named(self.config), argv)

    def run(self, config: Any) -> Any:
        return _named(self.function)(config)


_PLAIN = (
    Plain(
        "preview",
        "pretrain",
        "Draw what a method will see of your images, before it trains",
        arguments="--dataset path/to/images --augmentation natural",
        config="hfssl.commands.preview_config:PreviewConfig",
        function="hfssl.commands.preview:preview",
    ),
    Plain(
        "presets",
        "pretrain",
        "Print the presets of a method or task side by side",
        arguments="mae",
        config="hfssl.commands.presets:PresetsConfig",
        function="hfssl.commands.presets:presets",
        positional="recipe",
        is_light=True,
    ),
    Plain(
        "evaluate",
        "use",
        "Score any checkpoint on labelled data: kNN, linear probe, label curve, with baselines",
        arguments="--model runs/mae-000 --dataset path/to/labelled/images",
        config="hfssl.evaluation.evaluate_config:EvaluateConfig",
        function="hfssl.commands.evaluate:evaluate",
    ),
    Plain(
        "embed",
        "use",
        "Write features of all images as Parquet; find neighbours and outliers; search by an image",
        arguments="--model runs/mae-000 --dataset path/to/images --neighbours 10",
        config="hfssl.commands.embed_config:EmbedConfig",
        function="hfssl.commands.embed:embed",
    ),
    Plain(
        "predict",
        "use",
        "Write the predictions of a fine-tuned model for files or table rows, as CSV or JSONL",
        arguments="--model runs/image_classification-000 --input path/to/files",
        config="hfssl.predicting.predict_config:PredictConfig",
        function="hfssl.commands.predict:predict",
    ),
    Plain(
        "export",
        "use",
        "Export a checkpoint of a running, killed or finished run",
        arguments="--run runs/mae-000 --step 500",
        config="hfssl.commands.export_config:ExportConfig",
        function="hfssl.commands.export:export_checkpoint",
        positional="run",
    ),
    Plain(
        "runs",
        "publish",
        "List all runs with state and scores; write one page that compares them",
        arguments="runs --sort knn",
        config="hfssl.commands.runs_config:RunsConfig",
        function="hfssl.commands.runs:runs",
        positional="folder",
        is_light=True,
    ),
    Plain(
        "report",
        "publish",
        "Write report and model card of a running, killed or finished run",
        arguments="--run runs/mae-000",
        config="hfssl.commands.report_config:ReportConfig",
        function="hfssl.commands.report:report",
        positional="run",
    ),
    Plain(
        "publish",
        "publish",
        "Publish a run on the Hub, in one commit",
        arguments="--run runs/mae-000 --hub_model_id NAME",
        config="hfssl.hub.publish_config:PublishConfig",
        function="hfssl.commands.publish:publish",
        positional="run",
    ),
)


def command_names() -> list[str]:
    """All subcommands, by group."""
    return [name for names in grouped_names().values() for name in names]


def grouped_names() -> dict[Group, list[str]]:
    """Group -> the names of its commands."""
    named: dict[Group, list[str]] = {"pretrain": [*method_names(), "plan"], "use": ["finetune"], "publish": []}
    for command in _PLAIN:
        named[command.group].append(command.name)
    return named


def find(name: str) -> Command:
    """The command of this name, which must exist."""
    if name in method_names():
        return Pretrain(name)
    if name == "finetune":
        return Finetune()
    return Plan() if name == "plan" else next(command for command in _PLAIN if command.name == name)


def _common(of_tasks: list[list[Flag]]) -> list[Flag]:
    """The flags that all tasks have."""
    shared = set.intersection(*[{flag.name for flag in flags} for flags in of_tasks])
    return [flag for flag in of_tasks[0] if flag.name in shared]


def _first_method(argv: Sequence[str]) -> type[MethodConfig] | None:
    return config_of(argv[0]) if argv and not argv[0].startswith("-") else None


def _named(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
