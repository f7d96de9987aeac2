"""What every downstream task can be told: the checkpoint, how much of it is trained, and how."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from hfssl.config.fields import option
from hfssl.config.run_config import RunConfig
from hfssl.config.sections import DataConfig, Kind, MethodConfig
from hfssl.errors import require
from hfssl.models.lora_settings import LoraSettings
from hfssl.tasks.columns import Columns

if TYPE_CHECKING:
    from hfssl.data.source import Source

Adaptation = Literal["full", "frozen", "lora"]
_OF_LORA = ("lora_rank", "lora_alpha", "lora_targets", "lora_dropout", "merge")


@dataclass(frozen=True, kw_only=True)
class TaskConfig(MethodConfig):
    """Base of the tasks' configs. A subclass with a `__post_init__` of its own calls this one."""

    needs_labels: ClassVar[bool] = True
    start_flag: ClassVar[str] = "--model"
    demo: ClassVar[str | None] = None  # the embedded data set that is for this task, unless --task says so
    takes_class_folders: ClassVar[bool] = False  # whether folders of files, named like classes, are for this task
    splits_by_class: ClassVar[bool] = True  # whether a row has one class, which a split made here follows

    model: str | None = option(
        None,
        "checkpoint to fine-tune: run folder, export or Hub id (default: --model_config, from scratch)",
        "own_rule",
        basic=True,
    )
    adaptation: Adaptation = option(  # noqa: RUF009
        "full",
        "full: every weight; frozen: only the head, on features computed once; lora: adapters and the head",
        basic=True,
    )
    lora_rank: int | None = option(None, "rank of the adapters' matrices (default: 16)")
    lora_alpha: int | None = option(None, "adapters are scaled by alpha / rank (default: 32)")
    lora_targets: tuple[str, ...] | None = option(None, "names of the layers to adapt (default: auto, all of the body)")
    lora_dropout: float | None = option(None, "share of an adapter's inputs that is dropped (default: 0)")
    merge: bool = option(False, "export the whole model with the adapters added to its weights")
    layer_decay: float = option(1.0, "learning rate of each layer relative to the one above it")
    class_weights: Literal["none", "balanced"] = option("none", "balanced: each class weighs the same in the loss")
    label_smoothing: float = option(0.0, "share of each target that is spread over all classes")
    class_names: tuple[str, ...] | None = option(None, "classes in the order of their numbers (default: the data's)")
    group_column: str | None = option(
        None, "column of groups, a patient or a video, kept on one side of a split made here"
    )

    early_stopping: int | None = option(None, "validations without a better score that end the run")
    test_share: float = option(0.2, "share of the rows for the final score, where the data has no test split")
    label_share: float | None = option(None, "train on this share of the rows of each class, drawn by the seed")

    label_fractions: tuple[float, ...] | None = option(
        None,
        "study instead of one run: train on these shares of the labels, like 0.01,0.1,1, and draw the curve",
        basic=True,
    )
    seeds: int = option(1, "draws of the labels, and runs, for each point of that curve")
    compare: Literal["none", "scratch"] = option(
        "none", "scratch: the same from random weights, for what pretraining is worth", basic=True
    )
    learning_rates: tuple[float, ...] | None = option(
        None, "grid for each point of the curve (default: 0.1, 0.3, 1, 3 and 10 times base_learning_rate)"
    )

    @classmethod
    def fits(cls, columns: Columns) -> bool:
        """Whether a data set with such columns is for this task."""
        return False

    @property
    def kind(self) -> Kind:
        return "task" if self.label_fractions is None else "label_study"

    @property
    def output_type(self) -> Literal["classes", "numbers", "tags", "spans", "transcripts"]:
        """What an answer is, and so how it is scored: a module of `scoring/`."""
        return "classes"

    def __post_init__(self) -> None:
        share, stopping = self.label_share, self.early_stopping
        require(share is None or 0 < share <= 1, f"label_share must be in (0, 1], got {share}")
        require(0 < self.test_share <= 0.5, f"test_share must be in (0, 0.5], got {self.test_share:g}")
        require(stopping is None or stopping > 0, f"early_stopping must be above 0, got {stopping}")
        require(0 < self.layer_decay <= 1, f"layer_decay must be in (0, 1], got {self.layer_decay:g}")
        require(0 <= self.label_smoothing < 1, f"label_smoothing must be in [0, 1), got {self.label_smoothing:g}")
        for fraction in self.label_fractions or ():
            require(0 < fraction <= 1, f"label_fractions must be in (0, 1], got {fraction:g}")
        require(self.seeds > 0, f"seeds must be above 0, got {self.seeds}")
        self.lora_settings().check_lora()

    def without_effect(self) -> dict[str, str]:
        flags = {"stop_on_collapse": "in fine-tuning: leave it out"}
        if self.adaptation != "full":
            flags["layer_decay"] = f"with --adaptation {self.adaptation}: leave it out"
        if self.label_fractions is None:
            flags |= dict.fromkeys(
                ("seeds", "compare", "learning_rates"), "without --label_fractions: set that, or leave it out"
            )
        else:
            flags["label_share"] = "with --label_fractions: leave it out"
        return flags

    def from_scratch(self) -> Self:
        """The same without a checkpoint: every weight is trained, at one learning rate."""
        of_adapters = {name: None for name in _OF_LORA if name != "merge"}
        return replace(self, model=None, adaptation="full", layer_decay=1.0, merge=False, **of_adapters)  # type: ignore[arg-type]

    @property
    def rate_decay(self) -> float:
        """Learning rate of a layer relative to the one above it: 1 where the layers are not trained themselves."""
        return self.layer_decay if self.adaptation == "full" else 1.0

    def open_rows(self, data: DataConfig, open_samples: "Callable[[DataConfig], Source]") -> "Source":
        """The labelled rows that `data` names; `open_samples` opens those of the modality.

        Raises:
            ConfigError: they cannot be opened, or labels of those to train on are missing.
        """
        from hfssl.data.labels import num_unnamed, refuse_missing  # torch

        source = open_samples(data)
        refuse_missing(source, num_unnamed(source) if self.output_type == "classes" else source.num_withheld())
        return source

    def lora_settings(self) -> LoraSettings:
        """The settings of the adapters."""
        values: dict[str, Any] = {name: getattr(self, name) for name in _OF_LORA}
        return LoraSettings(lora=self.adaptation == "lora", **values)

    @property
    def exports_adapter(self) -> bool:
        return self.adaptation == "lora" and not self.merge

    def merged(self) -> Self | None:
        return replace(self, merge=True) if self.adaptation == "lora" else None

    def check_model(self, model_config: str | None) -> None:
        """Raise ConfigError where there is nothing to train or two things to start from."""
        require(
            (self.model is None) != (model_config is None),
            "name the checkpoint with --model, or an architecture to train from scratch with --model_config, and not both",
        )
        require(
            self.model is not None or self.adaptation == "full",
            f"adaptation {self.adaptation} needs --model: random weights that stay as they are teach nothing",
        )


def task_settings(run: RunConfig) -> TaskConfig:
    """What the task of a run on labelled rows is told."""
    assert isinstance(run.method, TaskConfig), f"{run.recipe} is no task"
    return run.method
