"""How predictions of a task are scored, by their output type: each is a module here, found by its name.

A module has
    CHOSEN_BY: str                                        the score whose highest value chooses the step
    scores(method, predictions) -> {name: value or None}      at each look while training
    final_scores(method, predictions, shown) -> summary       at the end, on rows opened once: all scores
    drawings(run_dir, predictions, summary, shown) -> {figure: what draws it}
    lines(summary) -> [str]                               the same in words
`predictions` are a task's, one a row; `shown(row)` is the row's sample for people: an image (C, H, W) uint8, or a text.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from torch import Tensor

from hfssl.run_dir import Json, RunDir

Drawings = dict[str, Callable[[], None]]
Shown = Callable[[int], "Tensor | str | None"]


class AnswerSettings(Protocol):
    """The part of a task's config that scores depend on."""

    @property
    def class_names(self) -> Sequence[str] | None: ...


class Scoring(Protocol):
    CHOSEN_BY: str

    def scores(self, method: AnswerSettings, predictions: Sequence[Any]) -> dict[str, float | None]: ...

    def final_scores(self, method: AnswerSettings, predictions: Sequence[Any], shown: Shown) -> Json: ...

    def drawings(self, run_dir: RunDir, predictions: Sequence[Any], summary: Json, shown: Shown) -> Drawings: ...

    def lines(self, summary: Json) -> list[str]: ...


def scoring_of(output_type: str) -> Scoring:
    """The module that scores predictions of this type."""
    return cast(Scoring, importlib.import_module(f"hfssl.evaluation.scoring.{output_type}"))
