"""Labels of rows: the classes of a split, rows without a label, how unequal classes are. N rows, C classes."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from hfssl.data.source import Source
from hfssl.errors import require
from hfssl.objective import Array, Examples

MOST_RATIO = 3
_NAMED = 5


class Labelled:
    """Examples with the number of their class, or with the number that is to be said."""

    def __init__(self, examples: Examples, numbers_N: Array) -> None:
        self.examples = examples
        self.numbers_N = numbers_N

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Raises BadRowError."""
        return self.examples[index], self.numbers_N[index].item()


def class_names_of(source: Source) -> list[str]:
    """The classes of a labelled split, in the order of their numbers or of the alphabet.

    Raises:
        ConfigError: no labels, or a single class.
    """
    require(source.label_column is not None, "the data has no column of class labels: name one with --label_column")
    assert source.label_column is not None
    labels = _known_labels(source)
    known = getattr(source.rows.features[source.label_column], "names", None)
    names = list(known) if known is not None else [source.label_name(label) for label in np.unique(labels).tolist()]
    require(len(np.unique(labels)) > 1, f"all rows of the split {source.split} are {names[0]}: nothing to tell apart")
    return names


def class_numbers(source: Source, class_names: Sequence[str]) -> Array:
    """(N,) int64, the place of each row's class in `class_names`.

    Raises:
        ConfigError: labels are missing, or one is not among the classes.
    """
    places = {name: place for place, name in enumerate(class_names)}
    names = [source.label_name(label) for label in _known_labels(source).tolist()]
    refuse_unseen(source, Counter(name for name in names if name not in places))
    return np.array([places[name] for name in names], dtype=np.int64)


def _known_labels(source: Source) -> Array:
    """As they are stored. Raises ConfigError where one is missing, -1, or an empty text."""
    refuse_missing(source, len(source) if source.label_column is None else num_unnamed(source))
    labels = source.labels()
    assert labels is not None
    return labels


def num_unnamed(source: Source) -> int:
    """Rows whose class is missing, -1, or an empty text."""
    values = [] if source.label_column is None else source.rows[source.label_column][:]
    return source.num_withheld() + sum(isinstance(value, str) and not value.strip() for value in values)


def refuse_missing(source: Source, count: int, what: str = "labels", are: str = "missing, or withheld as -1") -> None:
    """Raise ConfigError where `count` rows have none; `what` they are called, and what those `are` that there are not."""
    named = ", or name the classes by texts where -1 is one of them" if "-1" in are else ""
    require(
        count == 0,
        f"{count} of {len(source)} {what} of the split {source.split} are {are}: leave these rows out{named}",
    )


def refuse_unseen(source: Source, rows_of: Counter[str], what: str = "labels") -> None:
    """Raise ConfigError where there are labels that the training rows do not have, each with the number of its rows."""
    named = [f"{name} ({count} rows)" for name, count in sorted(rows_of.items())]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    require(
        not named,
        f"the split {source.split} has {what} that the training rows do not have: {', '.join(named[:_NAMED])}{more}",
    )


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
