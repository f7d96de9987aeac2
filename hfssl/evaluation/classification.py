"""What a classifier gets right, on labelled rows that it did not learn from, as eval/*.json holds it.

M rows, C classes. What is undefined (the precision of a class that is never said, the recall of one without rows) is None
and left out of means.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import softmax
from sklearn.metrics import confusion_matrix

from hfssl.data.labels import check_labels
from hfssl.evaluation.intervals import interval_of
from hfssl.objective import Array
from hfssl.run_dir import Json

NUM_BINS = 15
MOST_MISTAKES = 100
_SUM_TOLERANCE = 0.01  # half precision leaves some


class ClassScores(NamedTuple):
    """Of one class: rows said to be of it that are, rows of it that are said to be, their harmonic mean, its rows."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int


def probabilities_of(logits_MC: Array) -> Array:
    """(M, C) float64: the softmax of logits."""
    probabilities_MC: Array = softmax(np.asarray(logits_MC, dtype=np.float64), axis=1)
    return probabilities_MC


def classification_summary(probabilities_MC: Array, labels_M: Array, names: Sequence[str]) -> Json:
    """All figures, of plain JSON types.

    Args:
        probabilities_MC: a row sums to 1 (of logits see `probabilities_of`); the first of equal ones is what is said.
        labels_M: numbers of the true classes; names: of all C classes.

    Raises:
        ValueError: shapes that do not fit, no rows, or numbers that are no probabilities or no labels.
    """
    probabilities_MC, labels_M = np.asarray(probabilities_MC, dtype=np.float64), np.asarray(labels_M)
    _check(probabilities_MC, labels_M, len(names))
    said_M = probabilities_MC.argmax(axis=1)
    num_rows = len(labels_M)
    accuracy = float((said_M == labels_M).mean())
    confusion_CC = confusion_matrix(labels_M, said_M, labels=np.arange(len(names)))
    classes = class_scores(confusion_CC)
    bins = reliability_bins(probabilities_MC, labels_M)
    mistakes = worst_mistakes(probabilities_MC, labels_M)
    return {
        "rows": num_rows,
        "classes": list(names),
        "accuracy": accuracy,
        "accuracy_interval": list(interval_of(accuracy, num_rows)),
        "most_frequent_share": float(confusion_CC.sum(axis=1).max() / num_rows),
        "balanced_accuracy": mean_of([scores.recall for scores in classes]),
        "macro_f1": mean_of([scores.f1 for scores in classes]),
        "per_class": [{"class": name} | scores._asdict() for name, scores in zip(names, classes, strict=True)],
        "confusion": confusion_CC.tolist(),
        "calibration_error": calibration_error(bins),
        "calibration_bins": bins,
        "num_mistakes": len(mistakes),
        "mistakes": [
            {
                "row": int(row),
                "true": int(labels_M[row]),
                "said": int(said_M[row]),
                "probability": float(probabilities_MC[row, said_M[row]]),
                "probability_of_true": float(probabilities_MC[row, labels_M[row]]),
            }
            for row in mistakes[:MOST_MISTAKES]
        ],
    }


def class_scores(confusion_CC: Array) -> list[ClassScores]:
    """Of a confusion matrix (row: true class, column: said class). F1 is 2 TP / (2 TP + FP + FN)."""
    hits_C, said_C, support_C = np.diagonal(confusion_CC), confusion_CC.sum(axis=0), confusion_CC.sum(axis=1)
    return [
        ClassScores(ratio(hits, said), ratio(hits, support), ratio(2 * hits, said + support), support)
        for hits, said, support in zip(hits_C.tolist(), said_C.tolist(), support_C.tolist(), strict=True)
    ]


def ratio(part: float, whole: float) -> float | None:
    """None of nothing."""
    return part / whole if whole else None


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of those that are defined."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def reliability_bins(probabilities_MC: Array, labels_M: Array, num_bins: int = NUM_BINS) -> list[Json]:
    """Rows by the probability of what is said, in bins ((m-1) / bins, m / bins] (Guo et al. 2017, section 2)."""
    confidences_M = probabilities_MC.max(axis=1)
    is_right_M = probabilities_MC.argmax(axis=1) == labels_M
    edges = np.linspace(0, 1, num_bins + 1)
    bin_M = np.clip(np.searchsorted(edges, confidences_M, side="left") - 1, 0, num_bins - 1)
    counts = np.bincount(bin_M, minlength=num_bins)
    right = np.bincount(bin_M, weights=is_right_M, minlength=num_bins)
    summed = np.bincount(bin_M, weights=confidences_M, minlength=num_bins)
    return [
        {
            "low": float(edges[number]),
            "high": float(edges[number + 1]),
            "rows": int(counts[number]),
            "accuracy": ratio(float(right[number]), int(counts[number])),
            "confidence": ratio(float(summed[number]), int(counts[number])),
        }
        for number in range(num_bins)
    ]


def calibration_error(bins: Sequence[Json]) -> float:
    """ECE (Guo et al. 2017, arXiv 1706.04599, equation 3): |accuracy - confidence| of the bins, weighted by their rows."""
    num_rows = sum(one["rows"] for one in bins)
    gaps = [one["rows"] * abs(one["accuracy"] - one["confidence"]) for one in bins if one["rows"]]
    return float(sum(gaps) / num_rows)


def worst_mistakes(probabilities_MC: Array, labels_M: Array) -> Array:
    """Rows where another class than the true one is said, (mistakes,), the surest first; by number where equally sure."""
    wrong = np.flatnonzero(probabilities_MC.argmax(axis=1) != labels_M)
    order: Array = wrong[np.argsort(-probabilities_MC[wrong].max(axis=1), kind="stable")]
    return order


def _check(probabilities_MC: Array, labels_M: Array, num_classes: int) -> None:
    shape = (len(labels_M), num_classes)
    if probabilities_MC.shape != shape or not len(labels_M):
        raise ValueError(
            f"probabilities must have a row for each label and a column for each class, {shape}, and at least one row; "
            f"got {probabilities_MC.shape}"
        )
    sums_M = probabilities_MC.sum(axis=1)
    is_good_M = (probabilities_MC >= 0).all(axis=1) & (np.abs(sums_M - 1) < _SUM_TOLERANCE)
    if not is_good_M.all():
        row = int(np.flatnonzero(~is_good_M)[0])
        raise ValueError(
            f"row {row} of the probabilities has a sum of {sums_M[row]:.3g} and a minimum of "
            f"{probabilities_MC[row].min():.3g}; they must be finite, at least 0 and sum to 1: take probabilities_of(logits)"
        )
    check_labels(labels_M, num_classes)
