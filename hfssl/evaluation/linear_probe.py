"""Logistic regression on frozen features: all labels, or a few of each class. The test rows choose nothing."""

import functools
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from scipy.sparse import issparse
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import assert_all_finite
from threadpoolctl import ThreadpoolController

from hfssl.objective import Array

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
NUM_FOLDS = 5
NUM_DRAWS = 20
MOST_ITERATIONS = 200
SEARCH_TOLERANCE = 1e-3  # ranks strengths as the default of 1e-4 does, in half of the time
SINGLE_ROW_STRENGTH = 0.1
LARGEST_SEARCH = 5000


class Probe(NamedTuple):
    """is_scaled: features are standardised first; strengths: values of C to choose from, ascending."""

    is_scaled: bool
    strengths: tuple[float, ...]


DENSE = Probe(is_scaled=True, strengths=STRENGTHS)
SPARSE = Probe(is_scaled=False, strengths=(0.1, 1.0, 10.0, 100.0))  # of words: scaling would raise the rarest most


class Score(NamedTuple):
    """Mean accuracy and the half-width of its 95 % interval over draws."""

    mean: float
    interval: float


def linear_probe(
    train_ND: Array, train_labels_N: Array, test_MD: Array, test_labels_M: Array, probe: Probe = DENSE
) -> float:
    """Test accuracy of `fitted_probe`."""
    return float((fitted_probe(train_ND, train_labels_N, probe).predict(test_MD) == test_labels_M).mean())


def fitted_probe(train_ND: Array, train_labels_N: Array, kind: Probe = DENSE) -> Pipeline:
    """StandardScaler (where `kind` says so) + LogisticRegression with C chosen by cross-validation inside the training rows.

    Five folds, or as many as the smallest class has rows; with a single row a class C is SINGLE_ROW_STRENGTH. Beyond
    LARGEST_SEARCH rows C is chosen on a balanced part of them, and the probe then fitted on all.
    """
    assert_all_finite(train_ND)  # once, for the hundreds of fits that follow
    with _threads().limit(limits=1), _without_checks(), _iterations_may_end():
        strength = choose_strength(train_ND, train_labels_N, kind)
        probe = make_pipeline(*_preparation(train_ND, kind), LogisticRegression(C=strength, max_iter=MOST_ITERATIONS))
        return probe.fit(train_ND, train_labels_N)


@functools.cache
def _threads() -> ThreadpoolController:
    """The thread pools of this process. One thread fits faster than several, which wait for each other at every step."""
    return ThreadpoolController()


def _without_checks() -> AbstractContextManager[None]:
    """scikit-learn fits without checks of its arguments, which take longer than a fit on few rows."""
    return config_context(assume_finite=True, skip_parameter_validation=True)


@contextmanager
def _iterations_may_end() -> Iterator[None]:
    """The limit of iterations is part of the protocol: reaching it is no news."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _preparation(train_ND: Array, kind: Probe) -> list[Any]:
    scaling = StandardScaler() if kind.is_scaled else "passthrough"
    if issparse(train_ND) or train_ND.shape[1] <= len(train_ND):
        return [scaling]
    rotation = PCA(svd_solver="full")  # onto the rows' span: the same solution in fewer dimensions
    return [scaling, rotation]


def choose_strength(train_ND: Array, train_labels_N: Array, kind: Probe = DENSE) -> float:
    """The strength with the best mean accuracy over folds of the training rows; the smaller one of equals."""
    smallest_class = int(np.unique(train_labels_N, return_counts=True)[1].min())
    if smallest_class < 2:
        return SINGLE_ROW_STRENGTH
    if len(kind.strengths) == 1:
        return kind.strengths[0]
    num_classes = len(np.unique(train_labels_N))
    if len(train_labels_N) - LARGEST_SEARCH >= num_classes:  # else there is no stratified part of that size
        rows, _ = train_test_split(
            np.arange(len(train_labels_N)), train_size=LARGEST_SEARCH, stratify=train_labels_N, random_state=0
        )
        train_ND, train_labels_N = train_ND[rows], train_labels_N[rows]
        smallest_class = int(np.unique(train_labels_N, return_counts=True)[1].min())
    folds = StratifiedKFold(min(NUM_FOLDS, max(2, smallest_class)), shuffle=True, random_state=0)
    accuracies = np.mean(
        [
            _path(train_ND, train_labels_N, inside, outside, kind)
            for inside, outside in folds.split(train_ND, train_labels_N)
        ],
        0,
    )
    return kind.strengths[int(accuracies.argmax())]


def _path(train_ND: Array, train_labels_N: Array, inside: Array, outside: Array, kind: Probe) -> list[float]:
    """Accuracy on `outside` for each strength, weakest weights first: each fit starts from the one before."""
    preparation = make_pipeline(*_preparation(train_ND[inside], kind))
    inside_ND, outside_ND = preparation.fit_transform(train_ND[inside]), preparation.transform(train_ND[outside])
    model = LogisticRegression(max_iter=MOST_ITERATIONS, tol=SEARCH_TOLERANCE, warm_start=True)
    accuracies = []
    for strength in kind.strengths:
        with _iterations_may_end():
            model.set_params(C=strength).fit(inside_ND, train_labels_N[inside])
        accuracies.append(float((model.predict(outside_ND) == train_labels_N[outside]).mean()))
    return accuracies


def few_label_probe(
    train_ND: Array,
    train_labels_N: Array,
    test_MD: Array,
    test_labels_M: Array,
    *,
    labels_a_class: int,
    probe: Probe = DENSE,
) -> Score:
    """The probe on `labels_a_class` rows of each class, over fixed draws of these rows."""
    accuracies = []
    for draw in range(NUM_DRAWS):
        rows = few_rows(train_labels_N, labels_a_class, draw)
        accuracies.append(linear_probe(train_ND[rows], train_labels_N[rows], test_MD, test_labels_M, probe))
    spread = float(stats.sem(accuracies) * stats.t.ppf(0.975, NUM_DRAWS - 1))
    return Score(float(np.mean(accuracies)), spread)


def few_rows(labels_N: Array, labels_a_class: int, draw: int) -> Array:
    """Indices of `labels_a_class` rows of each class, drawn by `draw`. Raises ValueError where a class has fewer."""
    generator = np.random.default_rng(draw)
    chosen = []
    for label in np.unique(labels_N):
        rows = np.flatnonzero(labels_N == label)
        if len(rows) < labels_a_class:
            raise ValueError(f"class {label} has {len(rows)} rows, fewer than {labels_a_class}")
        chosen.append(generator.choice(rows, labels_a_class, replace=False))
    return np.concatenate(chosen)
