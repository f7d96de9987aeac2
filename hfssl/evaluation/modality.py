"""What an evaluation needs to know about images, texts or recordings; the protocol itself is the same for all.

N training rows, M test rows, D width.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import torch

from hfssl.data.source import Source
from hfssl.evaluation.evaluate_config import EvaluateConfig
from hfssl.evaluation.linear_probe import DENSE, Probe

Array = np.ndarray[Any, Any]


class LabelledSamples(Protocol):
    """Good rows of one split. rows: their numbers in it; labels: as stored; hashes: (N,) uint64, equal for near-duplicates,
    0 for samples that can not be told apart by it; num_bad: rows left out."""

    rows: list[int]
    labels: Array | None
    hashes: Array
    num_bad: int

    def __len__(self) -> int: ...

    def part(self, chosen: Array) -> Self:
        """Those where the (N,) bool mask is true."""
        ...


class Features(NamedTuple):
    """One kind of features of both sides: float32 matrices, of words sparse ones; `probe` fits them."""

    train_ND: Any
    test_MD: Any
    probe: Probe = DENSE


class Modality(ABC):
    """One checkpoint and the samples that it reads.

    samples: what they are called; hashed_by: what equal hashes mean; protocol: what tables of it state besides.
    """

    samples: ClassVar[str]
    hashed_by: ClassVar[str]
    protocol: ClassVar[Mapping[str, Any]]
    pooling: str

    @abstractmethod
    def open_data(self, config: EvaluateConfig) -> Source:
        """The labelled data. Raises ConfigError."""

    @abstractmethod
    def samples_of(self, source: Source) -> LabelledSamples:
        """All good rows of a split."""

    @abstractmethod
    def features(self, samples: Any, batch_size: int) -> Array:
        """(N, D) float32 of the checkpoint."""

    @abstractmethod
    def untrained_features(self, sides: tuple[Any, Any], seed: int, batch_size: int) -> Features:
        """Of both sides, by a model of the same configuration with fresh weights from `seed`."""

    @abstractmethod
    def baselines(self, train: Any, test: Any) -> dict[str, Features]:
        """Features that need no model, by name."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the checkpoint is."""

    def beyond_table(self, train: Any, test: Any, config: EvaluateConfig) -> tuple[dict[str, Any], list[str]]:
        """(figures that this modality alone has, by name; a sentence for each). Asked after `features` of both sides."""
        return {}, []
