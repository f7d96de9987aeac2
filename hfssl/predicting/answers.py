"""What a head says, in columns. L labels."""

import json
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from hfssl.config import require

Problem = Literal["one label", "several labels", "numbers"]
LEAST_PROBABILITY = 0.5
_DIGITS = 7


class Answers:
    """Columns of one classifier, and a row's values in them.

    Raises:
        ConfigError: `top_k` does not fit this head.
    """

    def __init__(self, config: Any, top_k: int | None) -> None:
        self._labels = [str(config.id2label[index]) for index in range(config.num_labels)]
        self._problem = _problem_of(config)
        self._top_k = top_k or 1
        most = len(self._labels)
        require(self._top_k <= most, f"--top_k {top_k} is more than the {most} labels of the model")
        has_effect = top_k is None or self._problem == "one label"
        require(has_effect, f"--top_k has no effect: the head gives {self._problem} a row; leave it out")

    @property
    def columns(self) -> list[str]:
        """Names of the columns that hold an answer."""
        if self._problem == "numbers":
            return ["value"] if len(self._labels) == 1 else [f"value_{label}" for label in self._labels]
        if self._problem == "several labels":
            return ["labels", "probabilities"]
        further = [f"{name}_{place}" for place in range(2, self._top_k + 1) for name in ("label", "probability")]
        return ["label", "probability", *further]

    def of(self, logits_L: Tensor) -> dict[str, Any]:
        """The values of one row: probabilities by softmax, or each by itself where several labels may hold, likeliest first."""
        if self._problem == "numbers":
            return dict(zip(self.columns, map(_rounded, logits_L.tolist()), strict=True))
        several = self._problem == "several labels"
        probabilities_L = logits_L.sigmoid() if several else logits_L.softmax(dim=-1)
        ordered = torch.sort(probabilities_L, descending=True, stable=True)
        ranked = [(self._labels[i], _rounded(p)) for p, i in zip(*(part.tolist() for part in ordered), strict=True)]
        if several:
            held = [(label, probability) for label, probability in ranked if probability >= LEAST_PROBABILITY]
            return {"labels": [label for label, _ in held], "probabilities": [probability for _, probability in held]}
        return dict(zip(self.columns, [value for pair in ranked[: self._top_k] for value in pair], strict=True))


def as_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as CSV holds it: lists as JSON, nothing as an empty cell."""
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value for name, value in row.items()
    }


def _problem_of(config: Any) -> Problem:
    if config.problem_type == "multi_label_classification":
        return "several labels"
    return "numbers" if config.problem_type == "regression" or config.num_labels == 1 else "one label"


def _rounded(value: float) -> float:
    """As many digits as float32 has."""
    return float(f"{value:.{_DIGITS}g}")
