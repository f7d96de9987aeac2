"""The sections of a run's settings: what every method, data set, optimizer and loop can be told."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from hfssl.config.fields import option
from hfssl.config.repository_name import check_repository
from hfssl.errors import require

Kind = Literal["encoder", "language_model", "task", "label_study"]


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """What a method can be told. Subclasses set `recipe`, add fields, and validate them in `__post_init__`."""

    recipe: ClassVar[str]
    modality: ClassVar[Literal["text", "image", "audio"]]
    pipeline_tag: ClassVar[str]  # the Hub's name for what the pretrained model that is exported does
    architecture_fields: ClassVar[frozenset[str]] = frozenset()  # what --model_config and --init_from decide instead
    takes_adapters: ClassVar[bool] = False  # whether --init_from may name an adapter
    loss_unit: ClassVar[str] = ""  # of the loss per target, as charts name it
    needs_labels: ClassVar[bool] = False  # a downstream task: trained and scored on labelled rows
    start_flag: ClassVar[str] = "--init_from"  # which names the checkpoint to start from
    reference_batch: ClassVar[int | None] = None  # where the peak learning rate is the base; it grows with the batch
    default_micro_batch: ClassVar[int | None] = None  # of a micro-batch by default, where a row holds many samples

    @classmethod
    def tiny(cls) -> Self:
        """The smallest sensible setting, for tests."""
        return cls()

    @property
    def kind(self) -> Kind:
        """What report and card say of such a run: `reporting/kinds.py` has a description of each."""
        return "encoder"

    def check(self, data: "DataConfig") -> None:
        """Raise ConfigError where method and data do not fit together."""

    def without_effect(self) -> dict[str, str]:
        """Flags without effect with the other settings, with reason and remedy; an error where somebody gave them."""
        return {}

    def check_batch(self, global_batch_size: int) -> None:
        """Raise ConfigError where the method cannot work with such batches."""

    def check_rows_at_once(self, per_device_batch_size: int) -> None:
        """Raise ConfigError where the method cannot work with such micro-batches."""

    def check_start(self, init_from: str | None) -> None:
        """Raise ConfigError where the method cannot start from `init_from`; None where it builds a new model."""

    @property
    def exports_adapter(self) -> bool:
        """Whether the export is an adapter, which is of no use without its base model."""
        return False

    def merged(self) -> Self | None:
        """The same training, exported as a whole model with its adapters added to the weights; None where it has none."""
        return None

    def adopt(self, data: Any, model_config: Any, given: frozenset[str]) -> tuple["MethodConfig", Any]:
        """(method, data) as a loaded transformers config dictates them; `given` are the flags of the command line.

        Raises:
            ConfigError: the method cannot build on such a config.
        """
        return self, data


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the rows come from; each modality adds its own fields."""

    samples: ClassVar[str]  # what the samples of this modality are called
    row_name: ClassVar[str] = "rows"  # what training counts per second
    suffixes: ClassVar[frozenset[str]]  # of files that hold one sample each
    processor_class: ClassVar[str | None] = None  # transformers' class of the processor whose settings a run adopts
    keeps_processor: ClassVar[bool] = False  # made from the data, so that a run has to keep it

    dataset: str | None = option(
        None, "Hub id, folder, Parquet/JSONL/CSV file, save_to_disk folder or demo:NAME", "own_rule", basic=True
    )
    dataset_config: str | None = option(None, "configuration name of a Hub data set")
    split: str = option("train", "split to train on")
    validation_share: float | None = option(
        None,
        "share of the rows for validation instead of training (default: 0.05 where the data has no other split)",
    )
    num_workers: int | None = option(None, "data worker processes (default: chosen from data and cores)", "may_change")

    def __post_init__(self) -> None:
        share = self.validation_share
        require(share is None or 0 <= share <= 0.5, f"validation_share must be in [0, 0.5], got {share}")
        workers = self.num_workers
        require(workers is None or workers >= 0, f"num_workers must be at least 0, got {workers}")

    @property
    def rows_are(self) -> str:
        """What a row of training is, in words."""
        return "rows"

    def check(self) -> None:
        """Raise ConfigError for what the file system by itself shows to be wrong."""

    def with_processor(self, folder: str) -> Self:
        """These settings with the processor that a run keeps in `folder`."""
        return self

    def adopt_processor(self, processor: Any, given: frozenset[str]) -> Self:
        """These settings with what the processor of a checkpoint to continue from dictates, unless given as flags.

        Args:
            processor: an object of `processor_class`, None where the checkpoint has none; the place of the checkpoint where
                that class is None.
        """
        return self


WITHOUT_EFFECT = {"adamw": frozenset[str](), "lars": frozenset({"adam_beta1", "adam_beta2"})}


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """The optimizer and its schedule: linear warm-up, then half a cosine to zero."""

    optimizer: Literal["adamw", "lars"] = option("adamw", "adamw, or lars for convolutional networks and large batches")
    base_learning_rate: float = option(
        1.5e-4, "vision: scaled by global batch / 256; text, audio, tasks: as it is", basic=True
    )
    weight_decay: float = option(0.05, "decoupled weight decay on matrices")
    final_weight_decay: float | None = option(None, "reach this decay along half a cosine (default: constant)")
    adam_beta1: float = option(0.9, "decay of AdamW's first moment")
    adam_beta2: float = option(0.95, "decay of AdamW's second moment")
    warmup_fraction: float = option(0.05, "share of the steps in which the learning rate rises")
    max_grad_norm: float | None = option(None, "clip the gradient to this norm (default: no clipping)")

    def __post_init__(self) -> None:
        final = [] if self.final_weight_decay is None else ["final_weight_decay"]
        for name in ("base_learning_rate", "weight_decay", *final):
            require(getattr(self, name) >= 0, f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("adam_beta1", "adam_beta2", "warmup_fraction"):
            require(0 <= getattr(self, name) < 1, f"{name} must be in [0, 1), got {getattr(self, name)}")
        require(
            self.max_grad_norm is None or self.max_grad_norm > 0,
            f"max_grad_norm must be above 0, got {self.max_grad_norm}; leave it out for no clipping",
        )


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long, how large and how safely a run trains."""

    output_dir: str | None = option(
        None, "run folder (default: the next free runs/<recipe>-<NNN>)", "may_change", basic=True
    )
    max_steps: int | None = option(None, "optimizer steps of the whole run", "own_rule", basic=True)
    num_epochs: int | None = option(None, "passes over the rows, instead of max_steps", "own_rule", basic=True)
    budget_hours: float | None = option(None, "train for about so long, instead of max_steps", "own_rule", basic=True)
    global_batch_size: int = option(256, "samples per optimizer step, over all processes and accumulation", basic=True)
    per_device_batch_size: int | Literal["auto"] | None = option(
        None, "samples per forward pass; auto: as many as fit (default: global batch / processes)", "may_change"
    )
    seed: int = option(0, "the one seed: weights, order, crops, masks, dropout", basic=True)
    resume: Literal["auto", "never", "must"] = option("auto", "whether to resume an interrupted run", "may_change")
    rescale_schedule: bool = option(False, "allow a resumed run another length", "may_change")
    init_from: str | None = option(
        None, "checkpoint (Hub id, folder or run) to start the weights from", "own_rule", basic=True
    )
    model_config: str | None = option(
        None,
        "config of the model to build: Hub id, path, or resnet18, resnet50, convnext_32px",
        "own_rule",
    )
    save_every: int = option(500, "steps between checkpoints", "may_change")
    keep_checkpoints: int = option(2, "checkpoints that stay on disk (at least 2)", "may_change")
    log_every: int = option(20, "steps between rows of metrics.jsonl", "may_change")
    evaluate_every: int = option(500, "steps between validations", "may_change")
    stop_on_collapse: bool = option(False, "end the run, saved, when a sign of collapse has held", "may_change")
    report_to: Literal["none", "trackio", "tensorboard", "wandb"] = option(
        "none", "tracker that gets what metrics.jsonl gets", "may_change"
    )
    max_skipped_steps: int = option(5, "non-finite steps in a row that end the run", "may_change")
    gradient_checkpointing: bool = option(False, "recompute activations to save memory", "may_change")
    compile: bool = option(False, "compile the model with torch.compile", "may_change")
    cpu_threads: int | None = option(None, "threads per process (default: cores / local processes)", "may_change")
    push_to_hub: bool = option(False, "publish the finished run, as `hfssl publish` does", "may_change", basic=True)
    hub_model_id: str | None = option(None, "with --push_to_hub: repository, NAME or USER/NAME", "may_change")
    hub_private: bool = option(False, "with --push_to_hub: make a new repository private", "may_change")
    price_per_hour: float | None = option(None, "what an hour of this machine costs, for the estimate", "may_change")
    process_group_timeout: int = option(1800, "seconds until a hanging process group is given up", "may_change")

    def __post_init__(self) -> None:
        positive = ["global_batch_size", "save_every", "log_every", "evaluate_every", "max_skipped_steps"]
        optional = ["max_steps", "num_epochs", "budget_hours", "per_device_batch_size", "cpu_threads", "price_per_hour"]
        given = [name for name in optional if getattr(self, name) not in (None, "auto")]
        for name in [*positive, "process_group_timeout", *given]:
            require(getattr(self, name) > 0, f"{name} must be above 0, got {getattr(self, name)}")
        require(self.keep_checkpoints >= 2, f"keep_checkpoints must be at least 2, got {self.keep_checkpoints}")
        require(
            self.max_steps is None or self.num_epochs is None,
            "max_steps and num_epochs exclude each other: set one of them",
        )
        require(
            self.budget_hours is None or self.num_epochs is None,
            "budget_hours and num_epochs exclude each other: set one of them",
        )
        check_repository("hub_model_id", self.hub_model_id)
        require(
            not self.push_to_hub or self.hub_model_id is not None, "push_to_hub needs --hub_model_id, the repository"
        )
        require(
            self.push_to_hub or not (self.hub_model_id or self.hub_private),
            "hub_model_id and hub_private have no effect without --push_to_hub: add it, or leave them out",
        )
        require(
            self.init_from is None or self.model_config is None,
            "model_config has no effect with init_from, which brings its own: leave one of them out",
        )
