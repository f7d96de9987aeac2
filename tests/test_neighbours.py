"""Nearest rows and outlier scores against scikit-learn and the definition, in any size of block."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from hfssl.evaluation import neighbours as neighbours_module
from hfssl.evaluation.knn import NUM_NEIGHBOURS, TEMPERATURE, knn_predictions
from hfssl.evaluation.neighbours import nearest_rows, nearest_to, outlier_scores

FEATURES = np.random.default_rng(0).normal(size=(90, 7)).astype(np.float32)
QUERIES = np.random.default_rng(1).normal(size=(11, 7)).astype(np.float32)


@pytest.fixture(params=[1, 350, 2**24], ids=["row by row", "a few rows", "all at once"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours_module, "_MOST_SIMILARITIES", request.param)


@pytest.mark.usefixtures("block")
def test_nearest_rows_are_scikit_learns() -> None:
    reference = NearestNeighbors(metric="cosine", algorithm="brute").fit(FEATURES)
    distances, rows = reference.kneighbors(n_neighbors=5)  # without argument each row's own is left out
    found = nearest_rows(FEATURES, 5)
    assert np.array_equal(found.rows_MK.numpy(), rows)
    assert np.allclose(found.similarities_MK.numpy(), 1 - distances, atol=1e-6)
    distances, rows = reference.kneighbors(QUERIES, 5)
    found = nearest_to(QUERIES, FEATURES, 5)
    assert np.array_equal(found.rows_MK.numpy(), rows)
    assert np.allclose(found.similarities_MK.numpy(), 1 - distances, atol=1e-6)


@pytest.mark.usefixtures("block")
def test_some_rows_have_the_neighbours_that_they_have_among_all() -> None:
    whole, some = nearest_rows(FEATURES, 4), nearest_rows(FEATURES, 4, of=[80, 3, 41])
    assert some.rows_MK.tolist() == whole.rows_MK[[80, 3, 41]].tolist()


def test_a_row_leaves_itself_out_and_keeps_its_copy() -> None:
    doubled = np.concatenate([FEATURES, 3 * FEATURES[:1]])
    found = nearest_rows(doubled, 2)
    assert found.rows_MK[0, 0] == 90
    assert found.rows_MK[90, 0] == 0
    assert not (found.rows_MK == np.arange(91)[:, None]).any()


def test_outlier_scores_equal_a_slow_loop_and_find_what_points_elsewhere() -> None:
    crowd = FEATURES[:60] * 0.2 + np.eye(7, dtype=np.float32)[0]
    rows = np.concatenate([crowd, -crowd[:1]])
    scores = outlier_scores(nearest_rows(rows, 3).similarities_MK.numpy())
    for index, row in enumerate(rows):
        others = [other for number, other in enumerate(rows) if number != index]
        distances = sorted(1 - row @ other / np.linalg.norm(row) / np.linalg.norm(other) for other in others)
        assert scores[index] == pytest.approx(sum(distances[:3]) / 3, abs=1e-5)
    assert scores.argmax() == 60


@pytest.mark.usefixtures("block")
def test_knn_is_scikit_learns_with_our_weights() -> None:
    labels = np.arange(90) % 4
    reference = KNeighborsClassifier(
        NUM_NEIGHBOURS, metric="cosine", weights=lambda distances: np.exp((1 - distances) / TEMPERATURE)
    ).fit(FEATURES, labels)
    assert np.array_equal(knn_predictions(FEATURES, labels, QUERIES), reference.predict(QUERIES))
