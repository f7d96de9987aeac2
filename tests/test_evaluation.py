"""kNN and probe against plain definitions and scikit-learn; the test rows choose nothing."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from hfssl.evaluation import linear_probe as probe_module
from hfssl.evaluation.feature_scores import scores_of
from hfssl.evaluation.knn import knn_predictions
from hfssl.evaluation.linear_probe import few_label_probe, few_rows, fitted_probe, linear_probe
from hfssl.evaluation.table import layout_of_summary, summary_lines, terminal_lines
from hfssl.reporting.scores import as_markdown

DIGITS = load_digits()
TRAIN, TEST = slice(0, 300), slice(300, 500)


def test_knn_equals_the_definition() -> None:
    features, labels = DIGITS.data.astype(np.float32), DIGITS.target
    predicted = knn_predictions(features[TRAIN], labels[TRAIN], features[TEST])
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for row, guess in zip(unit[TEST], predicted, strict=True):
        similarities = unit[TRAIN] @ row
        votes = np.zeros(10)
        for index in np.argsort(-similarities)[:20]:
            votes[labels[TRAIN][index]] += np.exp(similarities[index] / 0.07)
        assert votes.argmax() == guess


def test_the_probe_is_scikit_learns_at_the_strength_that_cross_validation_likes() -> None:
    rows = (DIGITS.data[TRAIN], DIGITS.target[TRAIN], DIGITS.data[TEST], DIGITS.target[TEST])
    ours = linear_probe(*rows, probe_module.Probe(is_scaled=True, strengths=(0.01,)))
    as_they_are = linear_probe(*rows, probe_module.Probe(is_scaled=False, strengths=(0.01,)))
    assert as_they_are == LogisticRegression(C=0.01, max_iter=200).fit(*rows[:2]).score(*rows[2:])
    scaler = StandardScaler().fit(DIGITS.data[TRAIN])
    model = LogisticRegression(C=0.01, max_iter=500).fit(scaler.transform(DIGITS.data[TRAIN]), DIGITS.target[TRAIN])
    assert ours == model.score(scaler.transform(DIGITS.data[TEST]), DIGITS.target[TEST])


def test_the_search_takes_a_strength_that_a_grid_search_likes_best_but_for_one_row() -> None:
    for num_rows in (60, 300):
        features, labels = DIGITS.data[:num_rows], DIGITS.target[:num_rows]
        smallest = int(np.unique(labels, return_counts=True)[1].min())
        folds = StratifiedKFold(min(5, smallest), shuffle=True, random_state=0)
        pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        grid = {"logisticregression__C": probe_module.STRENGTHS}
        accuracies = GridSearchCV(pipeline, grid, cv=folds).fit(features, labels).cv_results_["mean_test_score"]
        chosen = fitted_probe(features, labels)[-1].C
        assert accuracies[probe_module.STRENGTHS.index(chosen)] >= accuracies.max() - 1.5 / num_rows
        assert accuracies.max() - accuracies.min() > 4 / num_rows


def test_more_dimensions_than_rows_change_nothing_but_the_time() -> None:
    wide = np.random.default_rng(0).normal(size=(500, 120)) + DIGITS.target[:500, None] * np.linspace(0, 0.3, 120)
    rows = slice(0, 60)
    probe = probe_module.Probe(is_scaled=True, strengths=(0.1,))
    ours = linear_probe(wide[rows], DIGITS.target[rows], wide[TEST], DIGITS.target[TEST], probe)
    scaler = StandardScaler().fit(wide[rows])
    model = LogisticRegression(C=0.1, max_iter=1000).fit(scaler.transform(wide[rows]), DIGITS.target[rows])
    assert ours == pytest.approx(model.score(scaler.transform(wide[TEST]), DIGITS.target[TEST]), abs=0.006)


def test_few_labels_are_balanced_fixed_and_drawn_from_training_rows() -> None:
    rows = few_rows(DIGITS.target[TRAIN], 5, draw=3)
    assert np.bincount(DIGITS.target[TRAIN][rows]).tolist() == [5] * 10
    assert rows.tolist() == few_rows(DIGITS.target[TRAIN], 5, draw=3).tolist()
    assert rows.tolist() != few_rows(DIGITS.target[TRAIN], 5, draw=4).tolist()
    with pytest.raises(ValueError, match="fewer than 50"):
        few_rows(DIGITS.target[TRAIN], 50, draw=0)


def test_few_label_score_has_the_mean_and_interval_of_its_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([0.5, 0.6, 0.7, 0.8])
    monkeypatch.setattr(probe_module, "NUM_DRAWS", 4)
    monkeypatch.setattr(probe_module, "linear_probe", lambda *data: next(answers))
    score = few_label_probe(
        DIGITS.data[TRAIN], DIGITS.target[TRAIN], DIGITS.data[TEST], DIGITS.target[TEST], labels_a_class=5
    )
    assert score.mean == pytest.approx(0.65)
    assert score.interval == pytest.approx(3.182 * np.std([0.5, 0.6, 0.7, 0.8], ddof=1) / 2, rel=1e-3)


def test_the_table_shows_what_was_measured_and_no_column_of_dashes() -> None:
    rows = [
        {"features": "raw pixels", "width": 64, "knn": 0.958},
        {
            "features": "pretrained",
            "width": 96,
            "few_labels": 0.8,
            "few_labels_interval": 0.01,
            "num_labels": 100,
            "warnings": ["collapse: x"],
        },
    ]
    lines = summary_lines({"rows": rows, "test_rows": 500})
    assert lines[0].split() == ["features", "width", "kNN", "100", "labels"]
    assert lines[2].split() == ["raw", "pixels", "64", "0.958", "-"]
    assert "0.800 ± 0.010" in lines[3]
    assert lines[4] == "collapse: x"


def test_terminal_and_pages_show_the_same_columns_and_rows() -> None:
    rows = [{"features": name, "width": 8, "knn": 0.5, "linear": 0.625, "std": 0.25, "rank_me": 7.5} for name in "ab"]
    table = layout_of_summary({"rows": rows, "test_rows": 16})
    terminal, markdown = terminal_lines(table), as_markdown(table).splitlines()
    assert [cell.strip() for cell in markdown[0].strip("|").split("|")] == table.header
    told = [title for title in table.header if title != "few labels"]  # which nothing was measured of
    assert terminal[0].split() == " ".join(told).split()
    for line, of_page in zip(terminal[2:], markdown[2:], strict=True):
        assert [value.split(" (")[0] for value in of_page.strip("| ").split(" | ")][:4] == line.split()[:4]
    assert terminal[2].split() == ["a", "8", "0.500", "0.625", "0.250", "7.5"]
    assert "0.500 (0.280 to 0.720)" in markdown[2]
    assert "not measured" in markdown[2]


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_labels_of_both_splits_are_numbered_together_and_too_few_are_no_crash() -> None:
    features = np.eye(4, dtype=np.float32)[np.arange(40) % 4] + 0.01
    names = np.array(["ant", "bee", "cat", "dog"])[np.arange(40) % 4]
    scores = scores_of(features, names, features[1::2], names[1::2])  # the test rows hold bees and dogs alone
    assert scores["knn"] == scores["linear"] == scores["few_labels"] == 1.0
    assert scores_of(features, names[:1].repeat(40), features, names[:1].repeat(40)) == {}
    assert set(scores_of(features[:8], names[:8], features, names)) == {"knn"}


def test_the_probe_is_fitted_on_one_thread_and_other_work_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    fit, seen = LogisticRegression.fit, set()

    def counted(self: LogisticRegression, features: np.ndarray, labels: np.ndarray) -> LogisticRegression:
        seen.update(pool["num_threads"] for pool in threadpool_info())
        return fit(self, features, labels)

    monkeypatch.setattr(LogisticRegression, "fit", counted)
    with threadpool_limits(2, user_api="blas"):
        fitted_probe(DIGITS.data[TRAIN], DIGITS.target[TRAIN])
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {2}
    assert seen == {1}
