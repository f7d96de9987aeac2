"""Figures of a classifier against scikit-learn and slow loops from their definitions; balance, splits and pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_recall_fscore_support
from sklearn.utils.class_weight import compute_class_weight

from hfssl.data.labels import balanced_weights, class_counts, imbalance_sentence
from hfssl.data.splits import split_rows
from hfssl.errors import ConfigError
from hfssl.evaluation.classification import classification_summary, probabilities_of, worst_mistakes
from hfssl.evaluation.intervals import interval_of
from hfssl.figures import classification as figures
from hfssl.run_dir import RunDir

Array = np.ndarray[Any, Any]


def classified(num_rows: int = 400, num_classes: int = 4) -> tuple[Array, Array]:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, num_classes, num_rows)
    logits = generator.normal(size=(num_rows, num_classes))
    logits[np.arange(num_rows), labels] += 1.5
    return probabilities_of(logits), labels


def test_figures_are_scikit_learns() -> None:
    probabilities, labels = classified()
    said = probabilities.argmax(1)
    found = classification_summary(probabilities, labels, list("abcd"))
    assert found["accuracy"] == (said == labels).mean()
    assert found["accuracy_interval"] == list(interval_of(found["accuracy"], 400))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, said, average="macro"))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, said))
    assert found["most_frequent_share"] == np.bincount(labels).max() / 400
    columns = [[one[key] for one in found["per_class"]] for key in ("precision", "recall", "f1", "support")]
    for ours, theirs in zip(columns, precision_recall_fscore_support(labels, said), strict=True):
        assert ours == pytest.approx(theirs)
    for true, row in enumerate(found["confusion"]):
        assert row == [int(((labels == true) & (said == other)).sum()) for other in range(4)]


def test_calibration_error_is_the_papers_sum_over_bins() -> None:
    probabilities, labels = classified()
    confidences, said = probabilities.max(1), probabilities.argmax(1)
    expected = 0.0
    for number in range(1, 16):
        inside = (confidences > (number - 1) / 15) & (confidences <= number / 15)
        if inside.any():
            gap = (said[inside] == labels[inside]).mean() - confidences[inside].mean()
            expected += inside.sum() / 400 * abs(gap)
    found = classification_summary(probabilities, labels, list("abcd"))
    assert found["calibration_error"] == pytest.approx(expected)
    assert found["calibration_error"] > 0.02
    assert sum(one["rows"] for one in found["calibration_bins"]) == 400


def test_a_bin_holds_its_upper_edge_and_an_empty_one_says_nothing() -> None:
    probabilities = np.array([[0.6, 0.4], [0.61, 0.39], [1.0, 0.0]])
    bins = classification_summary(probabilities, np.array([0, 1, 0]), ["a", "b"])["calibration_bins"]
    assert {number: one["rows"] for number, one in enumerate(bins) if one["rows"]} == {8: 1, 9: 1, 14: 1}
    assert (bins[9]["accuracy"], bins[9]["confidence"]) == (0.0, 0.61)
    assert (bins[0]["accuracy"], bins[0]["confidence"]) == (None, None)


def test_a_class_never_said_and_one_without_rows_are_none_in_json_and_outside_of_means() -> None:
    probabilities = np.eye(4)[[0, 0, 0, 3]]
    found = classification_summary(probabilities, np.array([0, 0, 1, 0]), list("abcd"))
    assert [one["precision"] for one in found["per_class"]] == [pytest.approx(2 / 3), None, None, 0.0]
    assert [one["recall"] for one in found["per_class"]] == [pytest.approx(2 / 3), 0.0, None, None]
    assert [one["f1"] for one in found["per_class"]] == [pytest.approx(2 / 3), 0.0, None, 0.0]
    assert found["balanced_accuracy"] == pytest.approx(1 / 3)
    assert found["macro_f1"] == pytest.approx(2 / 9)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_mistakes_are_sorted_by_the_probability_of_what_was_said() -> None:
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.4, 0.6], [0.2, 0.8]])
    labels = np.array([1, 0, 0, 1, 0])
    assert worst_mistakes(probabilities, labels).tolist() == [1, 2, 4, 0]
    found = classification_summary(probabilities, labels, ["a", "b"])
    assert found["mistakes"][0] == {"row": 1, "true": 0, "said": 1, "probability": 0.9, "probability_of_true": 0.1}
    assert found["num_mistakes"] == 4


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ([[2.0, -1.0]], [0], r"take probabilities_of\(logits\)"),
        ([[3.0, 1.0]], [0], "sum of 4"),
        ([[0.5, 0.5], [np.nan, 0.5]], [0, 0], "row 1 of the probabilities has a sum of nan"),
        ([[0.5, 0.5]], [2], "labels must be numbers from 0 to 1"),
        ([[0.5, 0.5]], [-1], "leave out rows without a label"),
        ([[0.5, 0.5]], [0, 1], r"\(2, 2\), and at least one row; got \(1, 2\)"),
        (np.zeros((0, 2)), [], "at least one row"),
    ],
)
def test_what_is_no_classification_is_refused(probabilities: Any, labels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classification_summary(np.array(probabilities), np.array(labels), ["a", "b"])


def test_large_logits_become_probabilities_without_overflow() -> None:
    assert probabilities_of(np.array([[1000.0, 1000.0], [-1000.0, 0.0]])) == pytest.approx(
        np.array([[0.5, 0.5], [0, 1]])
    )


def test_balanced_weights_are_scikit_learns_and_have_mean_1() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2])
    weights = balanced_weights(class_counts(labels, 3))
    assert weights == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=labels))
    with_absent = balanced_weights(class_counts(labels, 5))
    assert with_absent[[3, 4]].tolist() == [1, 1]
    assert with_absent[labels].mean() == pytest.approx(1)
    with pytest.raises(ValueError, match="from 0 to 1, got 0 to 2"):
        class_counts(labels, 2)


def test_inequality_is_said_beyond_three_times_alone() -> None:
    assert imbalance_sentence(np.array([30, 10]), ["cats", "dogs"]) is None
    sentence = imbalance_sentence(np.array([10, 31]), ["cats", "dogs"])
    assert sentence is not None
    assert "dogs has 31 rows, cats has 10 (3.1 times as many)" in sentence
    assert "cats has 0;" in str(imbalance_sentence(np.array([0, 31]), ["cats", "dogs"]))


def test_a_split_has_every_class_on_each_side_that_it_can_be_on() -> None:
    labels = np.array([0] * 200 + [1] * 100 + [2] * 3 + [3] * 2 + [4])
    for seed in range(5):
        split = split_rows(labels, None, validation_share=0.1, test_share=0.2, seed=seed)
        parts = split[:3]
        assert sorted(np.concatenate(parts).tolist()) == list(range(306))
        assert [sorted(set(labels[part].tolist())) for part in parts] == [[0, 1, 2, 3, 4], [0, 1, 2, 3], [0, 1, 2]]
        assert [np.bincount(labels[part])[:2].tolist() for part in parts] == [[140, 70], [20, 10], [40, 20]]
        assert "too few rows or groups for validation: 4; too few rows or groups for test: 3, 4" in split.sentence
        assert f"by class, seed {seed}" in split.sentence


def test_large_shares_take_no_class_from_training() -> None:
    labels = np.arange(40) % 8
    split = split_rows(labels, None, validation_share=0.09, test_share=0.9, seed=0)
    assert [len(set(labels[part].tolist())) for part in split[:3]] == [8, 8, 8]


def test_a_split_is_drawn_by_its_seed_and_leaves_the_test_away_unless_asked() -> None:
    labels = np.array(["cat", "dog"])[np.arange(60) % 2]
    first, again, other = (split_rows(labels, None, validation_share=0.2, seed=seed) for seed in (0, 0, 1))
    assert first.validation.tolist() == again.validation.tolist() != other.validation.tolist()
    assert first.sentence == "made here: 48 rows for training and 12 rows for validation (by class, seed 0)"
    assert len(first.test) == 0


def test_groups_stay_whole_and_classes_in_training_even_where_groups_hold_several() -> None:
    generator = np.random.default_rng(0)
    for seed in range(20):
        labels, groups = generator.integers(0, 6, 120), generator.integers(0, 15, 120)
        labels[groups == 0] = 6  # of one group alone
        split = split_rows(labels, groups, validation_share=0.2, test_share=0.2, seed=seed)
        sides = [set(groups[part].tolist()) for part in split[:3]]
        assert sum(map(len, sides)) == len(set(groups.tolist()))
        assert set(labels[split.train].tolist()) == set(labels.tolist())
        assert 0 in sides[0]
        assert "whole groups on one side" in split.sentence


def test_a_rare_class_in_groups_is_held_out_by_its_smallest_group() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    groups = np.concatenate([np.arange(90), [100] * 7 + [101] * 3])
    split = split_rows(labels, groups, validation_share=0.1, seed=0)
    assert groups[split.validation][labels[split.validation] == 1].tolist() == [101] * 3


def test_what_can_not_be_split_is_refused() -> None:
    with pytest.raises(ConfigError, match="together below 1"):
        split_rows(np.zeros(9), None, validation_share=0.5, test_share=0.5, seed=0)
    with pytest.raises(ConfigError, match="4 rows cannot be split: some class must have 2 rows"):
        split_rows(np.arange(4), None, validation_share=0.5, seed=0)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Name of a figure -> the figure, instead of a PNG."""
    kept: dict[str, Any] = {}
    monkeypatch.setattr(figures, "write_figure", lambda figure, path: kept.update({path.name: figure}))
    return kept


def test_many_classes_are_cut_to_the_most_confused_with_shares_of_all_their_rows(
    tmp_path: Path, drawn: dict[str, Any]
) -> None:
    confusion = np.diag(np.full(50, 8))
    for wrong in range(30, 50):
        confusion[wrong, wrong - 30] = 2 + wrong  # of which the true ones, 30 to 49, and the said ones take part
    confusion[40, 25] = 5  # said to be of a class that is not shown
    assert figures.most_confused(confusion).tolist() == [*range(10, 20), *range(40, 50)]
    figures.confusion_figure(
        RunDir(tmp_path), {"confusion": confusion.tolist(), "classes": [f"c{n}" for n in range(50)]}
    )
    axis = drawn["confusion.png"].axes[0]
    assert "20 of 50" in axis.get_title()
    assert [text.get_text() for text in axis.get_yticklabels()][:2] == ["c10", "c11"]
    shares = axis.images[0].get_array()
    assert shares[10, 10] == pytest.approx(8 / 55)
    assert shares[10, 0] == pytest.approx(42 / 55)
    assert sorted({text.get_text() for text in axis.texts}) == sorted({"8", *(str(2 + n) for n in range(40, 50))})


def test_a_class_without_rows_is_marked_and_no_count_of_nothing_is_written(
    tmp_path: Path, drawn: dict[str, Any]
) -> None:
    figures.confusion_figure(RunDir(tmp_path), {"confusion": [[3, 1], [0, 0]], "classes": ["a", "b"]})
    axis = drawn["confusion.png"].axes[0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["a", "b (no rows)"]
    assert [text.get_text() for text in axis.texts] == ["3", "1"]


def test_the_gap_reaches_from_the_accuracy_of_a_bin_to_its_mean_probability(
    tmp_path: Path, drawn: dict[str, Any]
) -> None:
    probabilities = np.array([[0.9, 0.1]] * 4)
    figures.calibration_figure(
        RunDir(tmp_path), classification_summary(probabilities, np.array([0, 0, 0, 1]), ["a", "b"])
    )
    axis = drawn["calibration.png"].axes[0]
    accuracy, gap = axis.patches
    assert (accuracy.get_y(), accuracy.get_height()) == (0, 0.75)
    assert (gap.get_y(), gap.get_y() + gap.get_height()) == (0.75, pytest.approx(0.9))
    assert "0.150" in axis.get_title()


def test_names_are_never_read_as_formulas(tmp_path: Path) -> None:
    names = [r"$\frac$", "a very long $name$ of a class,\nof two lines, {it} ends"]  # the first is no valid formula
    probabilities, labels = classified(40, 2)
    summary = classification_summary(probabilities, labels, names)
    run_dir = RunDir(tmp_path)
    figures.confusion_figure(run_dir, summary)
    figures.mistakes_figure(run_dir, summary, lambda row: torch.zeros(1, 8, 8, dtype=torch.uint8))
    for name in ("confusion", "mistakes"):
        assert Image.open(run_dir.figures / f"{name}.png").width > 200


def test_mistakes_are_shown_worst_first_with_their_own_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheets: list[Any] = []
    monkeypatch.setattr(figures, "image_sheet", lambda path, lines: sheets.append(lines))
    probabilities = np.array([[0.4, 0.6]] * 8 + [[0.1, 0.9], [0.9, 0.1]])
    summary = classification_summary(probabilities, np.zeros(10, dtype=int), ["cat", "dog"])
    figures.mistakes_figure(RunDir(tmp_path), summary, lambda row: torch.full((3, 2, 2), row, dtype=torch.uint8))
    (lines,) = sheets
    assert [len(cells) for _, cells in lines] == [6, 3]
    assert [int(cell.image[0, 0, 0]) for cell in lines[0][1]] == [8, 0, 1, 2, 3, 4]
    assert lines[0][1][0].caption == "true cat\npredicted dog\n0.900"


def test_without_mistakes_there_is_no_sheet_and_no_old_one(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.figures.mkdir(parents=True)
    (run_dir.figures / "mistakes.png").write_bytes(b"of other weights")
    summary = classification_summary(np.eye(2), np.array([0, 1]), ["a", "b"])
    figures.mistakes_figure(run_dir, summary, lambda row: torch.zeros(1, 8, 8, dtype=torch.uint8))
    assert not (run_dir.figures / "mistakes.png").exists()


def test_long_names_lose_their_middle() -> None:
    assert figures.short("short", 9) == "short"
    assert figures.short("n01440764_tench", 9) == "n014…ench"
    assert len(figures.short("x" * 50, 22)) == 22
