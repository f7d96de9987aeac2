"""How answers of a task are scored, by their kind: each is a module here, found by its name.

A module has
    CHOSEN_BY: str                                        the score whose highest value chooses the step
    scores(method, answers) -> {name: value or None}      at each look while training
    close(run_dir, method, answers, shown) -> summary     at the end, on rows opened once: all figures, and pictures
    lines(summary) -> [str]                               the same in words
`answers` are a task's, one a row; `shown(row)` is the row's sample for people: an image (C, H, W) uint8, or a text.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from torch import Tensor

from hfssl.run_dir import RunDir

Shown = Callable[[int], "Tensor | str | None"]


class Scoring(Protocol):
    CHOSEN_BY: str

    def scores(self, method: Any, answers: Sequence[Any]) -> dict[str, float | None]: ...

    def close(self, run_dir: RunDir, method: Any, answers: Sequence[Any], shown: Shown) -> dict[str, Any]: ...

    def lines(self, summary: dict[str, Any]) -> list[str]: ...


def scoring_of(kind: str) -> Scoring:
    """The module that scores answers of this kind."""
    return cast(Scoring, importlib.import_module(f"hfssl.evaluation.scoring.{kind}"))
