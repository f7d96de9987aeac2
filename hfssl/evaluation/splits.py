"""A held-out part where a data set brings none: by class, and with whole groups on one side."""

from typing import Any

import numpy as np

from hfssl.config import require

Array = np.ndarray[Any, Any]


def held_out_rows(labels_N: Array, groups_N: Array | None, share: float, seed: int) -> Array:
    """(N,) bool, true for about `share` of each class; rows of one group (a patient, a video) are never separated.

    Raises:
        ConfigError: a side would be left without a class.
    """
    groups_N = np.arange(len(labels_N)) if groups_N is None else np.unique(groups_N, return_inverse=True)[1]
    generator = np.random.default_rng(seed)
    held_out_groups: set[int] = set()
    wanted = {label: share * (labels_N == label).sum() for label in np.unique(labels_N)}
    for group in generator.permutation(np.unique(groups_N)):
        inside = labels_N[groups_N == group]
        counts = dict(zip(*np.unique(inside, return_counts=True), strict=True))
        if all(wanted[label] >= count / 2 for label, count in counts.items()):
            held_out_groups.add(int(group))
            for label, count in counts.items():
                wanted[label] -= count
    held_out = np.isin(groups_N, list(held_out_groups))
    for label in np.unique(labels_N):
        sides = set(held_out[labels_N == label].tolist())
        require(len(sides) == 2, f"the class {label} has too few rows or groups to hold out {share:.0%} of it")
    return held_out
