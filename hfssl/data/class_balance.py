"""How unequal classes are, and weights that make up for it. N rows, C classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
MOST_RATIO = 3


def class_counts(labels_N: Array, num_classes: int) -> Array:
    """(C,) int: rows of each class. Raises ValueError where a label is no number of a class."""
    check_labels(labels_N, num_classes)
    return np.bincount(np.asarray(labels_N, dtype=np.int64), minlength=num_classes)


def check_labels(labels_N: Array, num_classes: int) -> None:
    """Raises ValueError where a label is no number of a class."""
    labels_N = np.asarray(labels_N)
    if len(labels_N) and not 0 <= labels_N.min() <= labels_N.max() < num_classes:
        raise ValueError(
            f"labels must be numbers from 0 to {num_classes - 1}, got {labels_N.min()} to {labels_N.max()}: leave out rows "
            "without a label"
        )


def imbalance_sentence(counts_C: Array, names: Sequence[str]) -> str | None:
    """What to know where the largest class has over MOST_RATIO times the rows of the smallest; None else."""
    largest, smallest = int(np.argmax(counts_C)), int(np.argmin(counts_C))
    if counts_C[largest] <= MOST_RATIO * counts_C[smallest]:
        return None
    most, least = f"{names[largest]} has {counts_C[largest]:,} rows", f"{names[smallest]} has {counts_C[smallest]:,}"
    times = f" ({counts_C[largest] / counts_C[smallest]:.1f} times as many)" if counts_C[smallest] else ""
    return (
        f"classes are unequal: {most}, {least}{times}; accuracy is mostly about large classes, so look at macro F1 and balanced "
        "accuracy, and weigh the classes in the loss if small ones matter as much"
    )


def balanced_weights(counts_C: Array) -> Array:
    """(C,) float64: N / (C n_c), with the C that have rows, so that the mean over all rows is 1 (King & Zeng 2001, as in
    scikit-learn's class_weight="balanced"). A class without rows gets 1.
    """
    counts_C = np.asarray(counts_C)
    has_rows_C = counts_C > 0
    return np.where(has_rows_C, counts_C.sum() / np.maximum(has_rows_C.sum() * counts_C, 1), 1.0)
