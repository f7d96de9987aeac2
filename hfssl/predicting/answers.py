"""What a model says of a row, in columns: the base of all kinds of answers, each of which is a module here."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from hfssl.objective import Array
from hfssl.predicting.predict_config import PredictConfig
from hfssl.run_dir import Json, JsonView

Arrays = dict[str, Array]
_DIGITS = 7


class Opening(NamedTuple):
    """What a kind of answers is opened with: the stock model, the processors in its folder, what the user asks for, and the
    settings of the run that trained it, empty where it comes from elsewhere."""

    model: PreTrainedModel
    processors: tuple[Any, ...]
    config: PredictConfig
    of_run: JsonView


class Answers(ABC):
    """Columns of one head, and a row's values in them."""

    FLAGS: ClassVar[frozenset[str]] = frozenset()  # settings of PredictConfig that mean something for this kind only

    @property
    @abstractmethod
    def columns(self) -> list[str]:
        """Names of the columns that hold an answer."""

    @abstractmethod
    def outputs(self, output: Any, batch: Mapping[str, Tensor], pieces: list[Arrays]) -> list[Tensor]:
        """What a stock model's output says of each sample of a batch, float32 on the host, without padding."""

    @abstractmethod
    def of(self, outputs: list[Tensor], extra: Any) -> Json:
        """The values of one row: `outputs` of each of its samples, `extra` as it was prepared."""


def own_tokens(values_BTL: Tensor, batch: Mapping[str, Tensor]) -> list[Tensor]:
    """(T, L) of each sample of a batch of texts: its tokens without padding, on whichever side that is."""
    values_BTL = values_BTL.float().cpu()
    if "attention_mask" not in batch:
        return list(values_BTL)
    own_BT = batch["attention_mask"].cpu().bool()
    return [values_TL[own_T] for values_TL, own_T in zip(values_BTL, own_BT, strict=True)]


def as_cells(row: JsonView) -> Json:
    """A row as CSV holds it: lists as JSON, nothing as an empty cell."""
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value for name, value in row.items()
    }


def rounded(value: float) -> float:
    """As many digits as float32 has."""
    return float(f"{value:.{_DIGITS}g}")


def label_names(config: PretrainedConfig) -> dict[int, str]:
    """The labels of a head by their numbers."""
    return {int(number): str(name) for number, name in (config.id2label or {}).items()}
