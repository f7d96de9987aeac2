"""Curves: training rows and held-out rows of one file, each where it belongs."""

from pathlib import Path
from typing import Any

import pytest

from hfssl.figures import curves as figures
from tests.support.run_folder import begun, training_row

Drawn = dict[str, Any]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Name of a figure -> {label of an axis: its lines as (x, y) lists}, instead of a PNG."""
    kept: Drawn = {}

    def keep(figure: Any, run_dir: Any, name: str) -> None:
        kept[name] = {
            axis.get_ylabel(): [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]
            for axis in figure.axes
        }
        figures.pyplot.close(figure)

    monkeypatch.setattr(figures, "_save", keep)
    return kept


def test_held_out_loss_is_a_second_line_and_starts_at_step_0(tmp_path: Path, drawn: Drawn) -> None:
    figures.loss_curve(begun(tmp_path))
    assert drawn["loss"]["loss"] == [([10, 20], [1.0, 0.5]), ([0, 10, 20], [2.0, 1.0, 20 / 30])]
    assert drawn["loss"]["learning rate"] == [([10, 20], [1e-3, 1e-3])]


def test_without_held_out_rows_there_is_one_line_and_nothing_to_watch(tmp_path: Path, drawn: Drawn) -> None:
    run_dir = begun(tmp_path, held_out=False)
    figures.loss_curve(run_dir)
    figures.watch_curve(run_dir)
    assert drawn["loss"]["training loss"] == [([10, 20], [1.0, 0.5])]
    assert "watch" not in drawn


def test_an_interval_without_a_loss_leaves_a_gap(tmp_path: Path, drawn: Drawn) -> None:
    run_dir = begun(tmp_path, held_out=False)
    run_dir.append_metrics(training_row(30, loss=None))
    figures.loss_curve(run_dir)
    assert drawn["loss"]["training loss"] == [([10, 20], [1.0, 0.5])]


def test_what_is_watched_is_drawn_and_what_has_no_labels_left_out(tmp_path: Path, drawn: Drawn) -> None:
    run_dir = begun(tmp_path / "labelled")
    figures.watch_curve(run_dir)
    assert drawn["watch"]["kNN accuracy"] == [([0, 10, 20], [0.6, 0.65, 0.7])]
    assert set(drawn["watch"]) == {"kNN accuracy", "RankMe", "feature std"}
    run_dir = begun(tmp_path / "unlabelled", held_out=False)
    run_dir.append_metrics({"step": 0, "validation/std": 0.1, "validation/rank_me": 3.0})
    figures.watch_curve(run_dir)
    assert drawn["watch"] == {"RankMe": [([0], [3.0])], "feature std": [([0], [0.1])]}
