"""The protocol between methods and the loop: one module holds all that a method trains, tracks and exports.

A pretraining method and a downstream task are both an `Objective`. The loop knows nothing but this page; an objective
knows no loop, no accelerator and no run folder. CONTRIBUTING.md shows how to add one.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, NotRequired, Protocol, Self, TypedDict

import numpy as np
from torch import Tensor, nn
from typing_extensions import TypeVar

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Array = np.ndarray[Any, Any]
"""Numbers on the host, of whatever shape and type the name of the variable says."""

Batch = dict[str, Tensor]
"""Tensors of one micro-batch, first dimension B; always holds `sample_ids` and `keys`, both (B,) int64."""


class ParamGroup(TypedDict):
    """Parameters that the optimizer treats alike; lr_scale: their factor on the learning rate, 1 where it is missing."""

    params: list[nn.Parameter]
    weight_decay: float
    lr_scale: NotRequired[float]


class Saves(Protocol):
    """A stock model, a processor, or an adapter: it writes itself as `from_pretrained` reads it."""

    def save_pretrained(self, folder: Path, /) -> object: ...


class StepOutput(NamedTuple):
    """What one micro-batch gives.

    loss_sum: 0-d, the loss summed over this micro-batch's targets; the only tensor with a gradient.
    num_targets: 0-d; 0 is allowed, loss_sum is then a 0 that is connected to the graph.
    metrics: detached 0-d tensors, averaged over micro-batches, ranks and the steps of a logging interval. The monitor
        knows `baseline_loss`, the loss per target before anything is learned, and what `nn.signals` names.
    """

    loss_sum: Tensor
    num_targets: Tensor
    metrics: dict[str, Tensor]


class BadRowError(Exception):
    """A row that cannot be used: unreadable, truncated, hostile. It is replaced, counted and named in the log."""


class Examples(Protocol):
    """Indexed examples: whatever `DataPipeline.prepare` made of the source's rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...  # raises BadRowError


class DataPipeline(ABC):
    """How rows become batches. Order of calls: prepare once; transform and collate in a worker; augment on the device."""

    processor: Saves  # the image processor, tokenizer or feature extractor that training and the export share
    warnings: tuple[str, ...] = ()  # what `prepare` found in the rows that report and card should say, in sentences

    @property
    def data_path(self) -> str:
        """How `prepare` found the samples, where that decides what a crop looks like; may not change on a resume."""
        return "read as they are"

    @property
    def wants_workers(self) -> bool:
        """Whether `transform` is heavy enough for worker processes; asked after `prepare`."""
        return True

    @abstractmethod
    def prepare(self, source: Any) -> Examples:
        """Indexed examples of the source: decoded and cached images, packed tokens, audio windows."""

    def whole_examples(self, source: Any) -> Examples:
        """One example for each row of the source, as `eval_transform` takes it; where rows are packed or cut up for
        training, another thing than `prepare` gives."""
        return self.prepare(source)

    @abstractmethod
    def transform(self, example: Any, key: Tensor) -> Any:
        """One example, in the worker; `key` is its 0-d int64 key. Crops that need decoded pixels happen here."""

    @abstractmethod
    def collate(self, examples: Sequence[Any], keys_B: Tensor) -> Batch:
        """Examples joined to a batch, with every other keyed parameter (flips, masks, spans) drawn on the CPU."""

    def augment(self, batch: Batch, progress: float) -> Batch:
        """The batch as `forward` takes it; on the device, without gradient, run by the loop."""
        return batch

    @abstractmethod
    def eval_transform(self, examples: Sequence[Any], first: int = 0) -> Batch:
        """Examples as a batch for `features`, `pretext` and `illustrate`: no crop, no chance; `keys` are those of samples
        `first`, `first + 1`, ... in epoch -1."""


@dataclass
class Export:
    """What a method exports: stock models that load without hfssl.

    model: the encoder (or language model) in a stock class; its config carries `hfssl_pooling`. Where adapters were trained
        and are not merged, only these (`models.lora.Adapter`).
    processor: image processor, tokenizer or feature extractor.
    pretraining_model: the full model, where that is a stock class.
    heads: other tensors worth keeping, by name.
    """

    model: Saves
    processor: Saves
    pretraining_model: Saves | None = None
    heads: dict[str, Tensor] = field(default_factory=dict)


class Diagnosis(NamedTuple):
    """Why a sign of collapse is probably there, and which flag to change."""

    reason: str
    remedy: str


Example = dict[str, Any]
"""What a language model wrote: {before, hidden, after, guesses: [[word, probability], ...]} or {prompt, continued}."""


class LoadReport(NamedTuple):
    """Names of tensors after `--init_from`: taken from the checkpoint, kept as initialised, found but not used."""

    loaded: list[str]
    new: list[str]
    unused: list[str]


class Picture(NamedTuple):
    """A grid of images for people: `cells` is (rows, columns, C, H, W) in [0, 1]; `titles` name the rows, `captions` the
    cells of each row."""

    name: str
    titles: list[str]
    cells: Tensor
    captions: Sequence[Sequence[str]] = ()


class Pretext(NamedTuple):
    """How well the task that is trained on was solved.

    correct: part of the task -> (B,) float, the share of right answers on each sample; chance: the share that guessing gets.
    """

    correct: dict[str, Tensor]
    chance: float


class ToldApart(NamedTuple):
    """Hidden frames of recordings and how like the model's answers are to them, for people.

    masked_NS: numbers of the hidden frames; is_masked_NS: whether a slot is used; samples_per_frame: of the waveform.
    true_NS: cosine of the answer to the true frame; false_NSK: to its distractors, -inf where there is none.
    """

    masked_NS: Tensor
    is_masked_NS: Tensor
    true_NS: Tensor
    false_NSK: Tensor
    samples_per_frame: int


def is_matrix(parameter: Tensor) -> bool:
    """A weight that may decay, unlike norms, biases and tokens: it has two dimensions, or two larger than 1 of more.

    The weight (1, D) of a head with one output is a matrix, a token (1, 1, D) is none.
    """
    return parameter.ndim == 2 or parameter.squeeze().ndim >= 2


Config = TypeVar("Config", default=Any)
Pipeline = TypeVar("Pipeline", bound=DataPipeline, default=Any)


class Objective(nn.Module, ABC, Generic[Config, Pipeline]):
    """A self-supervised method or a downstream task: parameters and buffers of one module are its whole state.

    Config: what it can be told, a `MethodConfig`; Pipeline: how rows become its batches.
    """

    modality: ClassVar[Literal["text", "image", "audio"]]
    max_healthy_update: ClassVar[float] = (
        0.08  # of a step, relative to the weights at the start; more where those start small
    )

    @property
    @abstractmethod
    def batch_coupled(self) -> bool:
        """A BatchNorm in training mode, or a loss that compares samples: then accumulation is not one big batch."""

    @classmethod
    @abstractmethod
    def data_pipeline(cls, config: Config, data: Any, source: Any) -> Pipeline:
        """The data path of this method on this source; `source` is None where a model is only exported."""

    @classmethod
    @abstractmethod
    def build(cls, config: Config, pipeline: Pipeline, model_config: "PretrainedConfig | None") -> Self:
        """A freshly initialised objective; `model_config` is a transformers config or None."""

    @abstractmethod
    def load_pretrained(self, checkpoint: str) -> LoadReport:
        """Start from the weights of `checkpoint` (Hub id or folder).

        Raises:
            ConfigError: this method cannot start from it.
        """

    @abstractmethod
    def forward(self, batch: Batch, progress: float) -> StepOutput:
        """The training step on one micro-batch. What moves a queue or a centre is only staged here."""

    @abstractmethod
    def features(self, batch: Batch) -> Tensor:
        """(B, width) float: equal to the pooled features of the exported model in eval mode."""

    @abstractmethod
    def export(self) -> Export:
        """Stock models and processor that share no storage with the training state."""

    @abstractmethod
    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations of the stock backbone in the backward pass."""

    def illustrate(self, batch: Batch) -> list[Picture]:
        """Pictures that show people what the model learned, from a batch of `eval_transform`."""
        return []

    def pretext(self, batch: Batch) -> Pretext | None:
        """The task on a batch of `eval_transform`, where its answers can be right or wrong."""
        return None

    def told_apart(self, batch: Batch) -> ToldApart | None:
        """What a picture needs to show a task on hidden frames, of a batch of `eval_transform`; None of other tasks."""
        return None

    def validation_figures(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Figures of the task on all validation rows at the end of a run, by name; only what the loss does not say."""
        return {}

    def demonstrate(self, export: Path, samples: Iterable[Any], longest: int) -> list[Example]:
        """What the exported model writes on a few raw samples; longest: tokens that it was trained on."""
        return []

    def remarks(self, row: Mapping[str, Any]) -> list[str]:
        """What the last logged row says of the method's own state, in sentences for the end of a run."""
        return []

    def state_figures(self) -> dict[str, Tensor]:
        """Detached 0-d figures of weights and buffers only, by the names of `nn.signals`; asked once per logged row."""
        return {}

    def diagnoses(self) -> dict[str, Diagnosis]:
        """What a sign of collapse, by its name in `training.signs`, means in this method with these settings."""
        return {}

    def param_groups(self, weight_decay: float) -> list[ParamGroup]:
        """Optimizer groups, each group's decay in proportion to `weight_decay`, which may change on the way; by default
        none on norms, biases and other tensors of fewer than two dimensions."""
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        groups: list[ParamGroup] = [
            {"params": [p for p in trainable if is_matrix(p)], "weight_decay": weight_decay},
            {"params": [p for p in trainable if not is_matrix(p)], "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def on_gradients_ready(self, progress: float) -> None:
        """After the scaled gradient is complete, before clipping: freeze a layer by setting its gradients to None."""

    def on_step_end(self, progress: float, applied: Tensor) -> None:
        """After the optimizer: commit EMA, queue and centre where `applied` (0-d bool on the device), once per step."""
