"""How accuracy grows with labels: probes on a few rows of each class, over seeds, paired between encoders.

The same rows are drawn for every encoder, and the same test rows are scored, so that a difference is bootstrapped over
seeds and test rows together.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hfssl.errors import ConfigError, require
from hfssl.evaluation.linear_probe import DENSE, Probe, fitted_probe
from hfssl.objective import Array

RESAMPLES = 2000
_RESAMPLES_AT_ONCE = 100


class Curve(NamedTuple):
    """correct: for each size a (seeds, test rows) bool array; sizes: rows of all classes together."""

    sizes: list[int]
    correct: list[Array]


def rows_of_size(labels_N: Array, size: str, seed: int) -> Array:
    """Training rows for one point of the curve: `20` is so many of each class, `5%` that share of each class, at least 1.

    Raises:
        ConfigError: not a size, or more rows than a class has.
    """
    generator = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels_N):
        rows = np.flatnonzero(labels_N == label)
        count = count_for(size, len(rows))
        require(count <= len(rows), f"label size {size}: the class {label} has {len(rows)} rows only")
        chosen.append(generator.permutation(rows)[:count])
    return np.concatenate(chosen)


def count_for(size: str, class_size: int) -> int:
    """Rows of one class that `size` stands for."""
    number = size.removesuffix("%")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    whole = size.endswith("%") or value == int(value)
    if not whole or value <= 0 or (size.endswith("%") and value > 100):
        raise ConfigError(f"a label size is a count a class like 20 or a share like 5%, got {size}")
    return max(1, round(class_size * value / 100)) if size.endswith("%") else int(value)


def label_curve(
    train_ND: Array,
    train_labels_N: Array,
    test_MD: Array,
    test_labels_M: Array,
    *,
    sizes: Sequence[str],
    num_seeds: int,
    whole_M: Array,
    probe: Probe = DENSE,
) -> Curve:
    """One probe for each size and seed.

    Args:
        whole_M: where the probe on all training rows is right; the one draw of a size that takes them all.
    """
    totals, correct = [], []
    for size in sizes:
        hits: list[Array] = []
        for seed in range(num_seeds):
            rows = rows_of_size(train_labels_N, size, seed)
            if len(rows) == len(train_labels_N):
                hits.append(whole_M)
                continue
            fitted = fitted_probe(train_ND[rows], train_labels_N[rows], probe)
            hits.append(fitted.predict(test_MD) == test_labels_M)
        totals.append(len(rows))
        correct.append(np.stack(hits))
    return Curve(totals, correct)


def interval(correct: Array) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over seeds and test rows, both resampled."""
    return _quantiles(correct.astype(np.float64))


def paired_difference(correct: Array, other: Array) -> tuple[float, float, float]:
    """(mean, low, high): how much more often `correct` is right than `other`, on the same seeds and test rows."""
    difference = correct.astype(np.float64) - other.astype(np.float64)
    return (float(difference.mean()), *_quantiles(difference))


def _quantiles(values: Array) -> tuple[float, float]:
    """Rows and columns are resampled independently: weights times matrix times weights, a few resamples at a time."""
    generator = np.random.default_rng(0)
    means = []
    for _ in range(RESAMPLES // _RESAMPLES_AT_ONCE):
        seed_weights, row_weights = (_resampled(generator, size) for size in values.shape)
        means.append(((seed_weights @ values) * row_weights).sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def _resampled(generator: np.random.Generator, size: int) -> Array:
    """(resamples, size): the share that each of `size` items has in a draw with replacement."""
    drawn = generator.integers(size, size=(_RESAMPLES_AT_ONCE, size)) + size * np.arange(_RESAMPLES_AT_ONCE)[:, None]
    counts: Array = np.bincount(drawn.ravel(), minlength=_RESAMPLES_AT_ONCE * size).reshape(_RESAMPLES_AT_ONCE, size)
    return counts / size
