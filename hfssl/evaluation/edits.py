"""Edits between two sequences (Levenshtein 1966): the fewest insertions, deletions and substitutions."""

from collections.abc import Hashable, Sequence

import numpy as np


def num_edits(said: Sequence[Hashable], true: Sequence[Hashable]) -> int:
    """A row of the usual table at a time; what insertions add within a row is a running minimum."""
    numbers: dict[Hashable, int] = {}
    said_ids, true_ids = (
        np.array([numbers.setdefault(item, len(numbers)) for item in side], dtype=np.int64) for side in (said, true)
    )
    positions = np.arange(len(true_ids) + 1)
    row = positions
    for count, item in enumerate(said_ids.tolist(), start=1):
        without_insertions = np.minimum(row[1:] + 1, row[:-1] + (true_ids != item))
        best = np.concatenate([[count], without_insertions])
        row = np.minimum.accumulate(best - positions) + positions
    return int(row[-1])
