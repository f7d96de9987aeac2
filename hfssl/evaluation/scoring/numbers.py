"""Answers that are one number a row: (number said, true number) each."""

from collections.abc import Sequence

import numpy as np

from hfssl.evaluation.metrics import PearsonSpearman
from hfssl.evaluation.scoring.output_types import AnswerSettings, Drawings, Shown
from hfssl.figures.scatter import scatter_figure
from hfssl.objective import Array
from hfssl.run_dir import Json, RunDir

Answer = tuple[float, float]
CHOSEN_BY = "pearson"
_MOST_MISTAKES, _LONGEST_TEXT = 24, 200


def scores(method: AnswerSettings, predictions: Sequence[Answer]) -> dict[str, float | None]:
    """pearson, spearman, and mean_squared_error."""
    said, true = [said for said, _ in predictions], [true for _, true in predictions]
    correlations: dict[str, float | None] = PearsonSpearman().compute(predictions=said, references=true)
    return correlations | {"mean_squared_error": _mean_squared(np.subtract(said, true))}


def final_scores(method: AnswerSettings, predictions: Sequence[Answer], shown: Shown) -> Json:
    """All scores. `of_mean` is the error of always predicting the mean of these rows."""
    said_M, true_M = (np.array(column, dtype=np.float64) for column in zip(*predictions, strict=True))
    summary: Json = {"rows": len(predictions)} | scores(method, predictions)
    summary |= {"mean_absolute_error": float(np.abs(said_M - true_M).mean())}
    summary |= {"of_mean": _mean_squared(true_M - true_M.mean())}
    worst = np.argsort(-np.abs(said_M - true_M), kind="stable")[:_MOST_MISTAKES].tolist()
    summary["mistakes"] = [
        {"row": row, "said": float(said_M[row]), "true": float(true_M[row]), "text": _text(shown(row))} for row in worst
    ]
    return summary


def drawings(run_dir: RunDir, predictions: Sequence[Answer], summary: Json, shown: Shown) -> Drawings:
    """figures/scatter.png."""
    said_M, true_M = (np.array(column, dtype=np.float64) for column in zip(*predictions, strict=True))
    return {"scatter figure": lambda: scatter_figure(run_dir, said_M, true_M, summary)}


def lines(summary: Json) -> list[str]:
    return [
        f"Pearson     {_figure(summary['pearson'])}   Spearman {_figure(summary['spearman'])}",
        f"mean squared error   {summary['mean_squared_error']:.4g}   of predicting the mean {summary['of_mean']:.4g}",
        f"mean absolute error  {summary['mean_absolute_error']:.4g}",
    ]


def _mean_squared(errors_M: Array) -> float | None:
    return float(np.mean(np.square(errors_M))) if len(errors_M) else None


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _text(example: object) -> str | None:
    return example[:_LONGEST_TEXT] if isinstance(example, str) else None
