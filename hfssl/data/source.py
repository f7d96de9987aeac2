"""Rows of one split of a data set, with the columns of samples and labels, and the rows that are not trained on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

import datasets
import numpy as np
import torch
from datasets import Dataset

from hfssl.data.reading import Reading
from hfssl.errors import require
from hfssl.objective import Array
from hfssl.randomness import DataOrder

FEWEST_ROWS, LEAST_HELD_OUT, MOST_HELD_OUT, SHARE_HELD_OUT = 64, 8, 1000, 0.05


class StoredFile(TypedDict):
    bytes: bytes | None
    path: str | None


"""What an undecoded column of images or recordings holds in each row."""


@dataclass(frozen=True)
class Source:
    """Rows of one split.

    rows: samples, undecoded, and labels; all_rows: the same rows with every column.
    column: the column of the samples; label_column: that of the labels, or None.
    test: rows of the same data set that are opened once, for scores, or None; validation: rows for validation while
    training, or None. Neither is trained on; they are the same object where the data has nothing else to score.
    passed_over: splits that others are scored instead of: how many of their rows have no label, and how many there are.
    reading: what was found where the data lies, and what of it is used.
    """

    name: str
    split: str
    rows: Dataset
    column: str
    label_column: str | None
    test: "Source | None"
    all_rows: Dataset
    validation: "Source | None" = None
    passed_over: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    reading: Reading = field(default_factory=Reading)

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, index: int) -> Any:
        """The raw value of row `index`: bytes and path of a file, an array, a text."""
        return self.rows[index][self.column]

    def labels(self) -> "Array | None":
        """The label of each row as it is stored, a number or a text, (rows,).

        None without a label column, and where labels are withheld: missing, or -1 as in the test splits of competitions.
        """
        if self.label_column is None:
            return None
        values = self.rows[self.label_column][:]
        require(
            not any(isinstance(value, (list, dict)) for value in values[:1]),
            f"the label column {self.label_column} must hold one class per row, not several: choose one with --label_column",
        )
        return None if self.num_withheld() else np.asarray(values)

    def num_withheld(self) -> int:
        """Rows whose label is missing, or -1. Where all others are 1, -1 is a class."""
        values = [] if self.label_column is None else self.rows[self.label_column][:]
        num_missing = sum(value is None for value in values)
        is_a_class = set(values) - {None} == {-1, 1} and not isinstance(
            self.rows.features[str(self.label_column)], datasets.ClassLabel
        )
        return num_missing if is_a_class else num_missing + sum(value == -1 for value in values)

    def label_name(self, label: int | float | str) -> str:
        """A stored label in words, where the data has words for its numbers."""
        feature = None if self.label_column is None else self.rows.features[self.label_column]
        if isinstance(feature, datasets.ClassLabel) and int(label) >= 0:
            return str(feature.int2str(int(label)))
        is_whole = isinstance(label, float) and label.is_integer()
        return str(int(label)) if is_whole else str(label)

    def column_values(self, name: str) -> Array:
        """Another column, (rows,). Raises ConfigError where there is none of that name."""
        require(
            name in self.all_rows.features, f"{name} is not a column; there are: {', '.join(self.all_rows.features)}"
        )
        return np.asarray(self.all_rows.with_format("numpy")[name][:])

    def part(self, rows: Array) -> "Source":
        """Only the rows of these numbers, in this order, without test and validation rows."""
        chosen, all_chosen = self.rows.select(rows), self.all_rows.select(rows)
        return replace(self, rows=chosen, all_rows=all_chosen, test=None, validation=None)

    def fingerprint(self) -> str:
        """A short name of the rows' content, the same in every process."""
        return hashlib.sha256(f"{self.rows._fingerprint} {self.column}".encode()).hexdigest()[:16]


def with_rows_held_out(source: Source, share: float | None) -> Source:
    """`source` less a share of its rows, which become validation rows, and test rows where the data has no others.

    At least 8 and at most 1,000 of them, always the same, whatever the run's seed. Nothing is held out of fewer than
    FEWEST_ROWS rows, unless a share is given.
    """
    if share == 0 or (share is None and len(source) < FEWEST_ROWS):
        return source
    config = round((SHARE_HELD_OUT if share is None else share) * len(source))
    count = min(max(config, LEAST_HELD_OUT), MOST_HELD_OUT)
    require(
        count < len(source),
        f"validation_share {share} of {len(source)} rows leaves none to train on: set --validation_share 0",
    )
    shuffled = fixed_rows(len(source), len(source))
    validation = replace(source.part(np.sort(shuffled[:count])), split=f"{source.split} (held out)")
    return replace(source.part(np.sort(shuffled[count:])), validation=validation, test=source.test or validation)


def fixed_rows(num_rows: int, count: int) -> Array:
    """`count` row numbers, or all if there are fewer: the first of a permutation that depends only on `num_rows`."""
    _, order = DataOrder(num_rows, seed=0).at(torch.arange(num_rows))
    rows: Array = order[:count].numpy()
    return rows
