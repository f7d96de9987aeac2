"""What an evaluation needs to know about images, texts or recordings; the protocol itself is the same for all.

The table at the end of a run and the command `evaluate` ask the same description. N training rows, M test rows, D width,
L hidden states.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

import torch

from hfssl.data.source import Source
from hfssl.evaluation.evaluate_config import EvaluateConfig
from hfssl.evaluation.linear_probe import DENSE, Probe
from hfssl.objective import Array
from hfssl.run_dir import Json, JsonView


class LabelledSamples(Protocol):
    """Good rows of one split. rows: their numbers in it; labels: as stored; hashes: (N,) uint64, equal for near-duplicates,
    0 for samples that cannot be told apart by it; num_bad: rows left out."""

    rows: list[int]
    labels: Array | None
    hashes: Array
    num_bad: int

    def __len__(self) -> int: ...

    def part(self, chosen: Array) -> Self:
        """Those where the (N,) bool mask is true."""
        ...


Encoder = TypeVar("Encoder")
Samples = TypeVar("Samples", bound=LabelledSamples)


class Features(NamedTuple):
    """One kind of features: float32 matrices, of words sparse ones; `probe` fits them. Test features may be missing."""

    train_ND: Any
    test_MD: Any
    probe: Probe = DENSE


class Further(NamedTuple):
    """Figures that only one modality has, by name, and a sentence for each."""

    figures: Json
    notes: list[str]


NOTHING_FURTHER = Further({}, [])


class Modality(ABC, Generic[Encoder, Samples]):
    """How checkpoints of one modality are opened, and what they read.

    reads: the model's input, as transformers names it; samples: what its values are called.
    own_flags: flags of `evaluate` without effect on other modalities.
    hashed_by: what equal hashes mean.
    protocol: what every table states; checkpoint_protocol: what only tables with `checkpoint_figures` state.
    batch_size: samples that go through the encoder together, unless a command says so.
    """

    reads: ClassVar[str]
    samples: ClassVar[str]
    own_flags: ClassVar[tuple[str, ...]]
    hashed_by: ClassVar[str]
    protocol: ClassVar[JsonView]
    checkpoint_protocol: ClassVar[JsonView] = {}
    batch_size: ClassVar[int]

    @abstractmethod
    def open_encoder(self, location: str | Path, device: torch.device) -> Encoder:
        """The encoder of a checkpoint, in eval mode. Raises ConfigError."""

    @abstractmethod
    def untrained_encoder(self, location: str | Path, seed: int, device: torch.device) -> Encoder:
        """A model of the same configuration with fresh weights from `seed`."""

    def pooling(self, encoder: Encoder) -> str:
        """How hidden states become one vector per sample."""
        return "mean"

    @abstractmethod
    def open_data(self, config: EvaluateConfig, encoder: Encoder) -> Source:
        """The labelled data. Raises ConfigError."""

    @abstractmethod
    def samples_of(self, source: Source, encoder: Encoder, most: int | None = None) -> Samples:
        """The good rows of a split, at most `most`."""

    @abstractmethod
    def encode(self, encoder: Encoder, samples: Samples, batch_size: int) -> Array:
        """Features, (N, D) float32, or those of all hidden states, (N, L, D)."""

    @abstractmethod
    def baselines(self, train: Samples, test: Samples | None) -> dict[str, Features]:
        """Features that need no model, by name."""

    def layer_figures(self, encoded: tuple[Array, Array], labels: tuple[Array, Array]) -> Further:
        """What `encode` gave for training and test rows tells beyond scores."""
        return NOTHING_FURTHER

    def checkpoint_figures(
        self, location: str, encoder: Encoder, sides: tuple[Samples, Samples], config: EvaluateConfig
    ) -> Further:
        """What the whole checkpoint tells beyond its features; asked only by `evaluate`."""
        return NOTHING_FURTHER


def last_layer(encoded: Array) -> Array:
    """(N, D) features of what `Modality.encode` gives."""
    return encoded if encoded.ndim == 2 else encoded[:, -1]
