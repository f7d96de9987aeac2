"""Curves: training and validation rows of one file, each where it belongs, and apart in grey print."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from hfssl.catalog import method_names, settings_of, task_names
from hfssl.figures import curves as figures
from hfssl.figures import palette
from hfssl.run_dir import RunDir
from tests.support.run_folder import begun, training_row, validation_row

Drawn = dict[str, Any]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Name of a figure -> its matplotlib figure, instead of a PNG."""
    kept: Drawn = {}
    monkeypatch.setattr(figures, "write_figure", lambda figure, path: kept.update({path.stem: figure}))
    return kept


def lines(figure: Any) -> dict[str, list[tuple[list[float], list[float]]]]:
    """Label of an axis -> its lines as (x, y) lists."""
    return {
        axis.get_ylabel(): [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]
        for axis in figure.axes
    }


def lightness(colour: str) -> float:
    """L* of CIELAB, from the luminance of sRGB."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    luminance = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return 116 * luminance ** (1 / 3) - 16 if luminance > 216 / 24389 else luminance * 24389 / 27


def with_losses(path: Path, *losses: float) -> RunDir:
    run_dir = begun(path, steps=(), held_out=False)
    for number, loss in enumerate(losses, start=1):
        run_dir.append_metrics(training_row(10 * number, loss=loss))
    return run_dir


def test_validation_loss_is_a_second_line_and_starts_at_step_0(tmp_path: Path, drawn: Drawn) -> None:
    figures.loss_curve(begun(tmp_path), "nats per token")
    shown = lines(drawn["loss"])
    assert shown["loss (nats per token)"] == [([10, 20], [1.0, 0.5]), ([0, 10, 20], [2.0, 1.0, 20 / 30])]
    assert shown["learning rate"] == [([10, 20], [1e-3, 1e-3])]
    above, below = drawn["loss"].axes
    assert [text.get_text() for text in above.get_legend().get_texts()] == ["training", "validation"]
    assert below.get_xlabel() == "optimizer step"


def test_training_and_validation_differ_in_lightness_line_and_marker(tmp_path: Path, drawn: Drawn) -> None:
    figures.loss_curve(begun(tmp_path))
    training, validation = drawn["loss"].axes[0].lines
    assert abs(lightness(training.get_color()) - lightness(validation.get_color())) >= 25
    assert (training.get_linestyle(), validation.get_linestyle()) == ("-", "--")
    assert not training.get_marker()
    assert validation.get_marker() not in ("", "None")


def test_lines_are_dark_on_white_and_none_looks_like_another() -> None:
    white = lightness("#ffffff")
    assert white == pytest.approx(100, abs=0.01)
    for line in palette.LINES:
        assert white - lightness(line.colour) >= 40
    assert (
        len({line.style for line in palette.LINES})
        == len({line.marker for line in palette.LINES})
        == len(palette.LINES)
    )
    assert palette.line(len(palette.LINES)) == palette.LINES[0]


def test_a_figure_has_a_white_ground_as_a_file(tmp_path: Path) -> None:
    run_dir = begun(tmp_path)
    figures.loss_curve(run_dir)
    with Image.open(run_dir.figures / "loss.png") as image:
        pixels = image.convert("RGB")
        assert {pixels.getpixel((x, y)) for x in (0, image.width - 1) for y in (0, image.height - 1)} == {
            (255, 255, 255)
        }


@pytest.mark.parametrize(
    ("losses", "scale"),
    [
        ((5.0, 1.0), "linear"),
        ((5.01, 1.0), "log"),
        ((500.0, 0.02), "log"),
        ((9.0, 0.0), "linear"),
        ((9.0, -1.0), "linear"),
        ((3.0,), "linear"),
    ],
)
def test_the_scale_is_logarithmic_where_positive_losses_span_more_than_a_factor_of_five(
    losses: tuple[float, ...], scale: str, tmp_path: Path, drawn: Drawn
) -> None:
    figures.loss_curve(with_losses(tmp_path, *losses))
    above = drawn["loss"].axes[0]
    assert above.get_yscale() == scale
    drawn["loss"].canvas.draw()
    assert len([label for label in above.get_yticklabels() if label.get_text()]) >= 2


def test_without_validation_rows_there_is_one_line_and_nothing_to_watch(tmp_path: Path, drawn: Drawn) -> None:
    run_dir = begun(tmp_path, held_out=False)
    figures.loss_curve(run_dir)
    figures.watch_curve(run_dir)
    figures.score_curve(run_dir)
    assert lines(drawn["loss"])["loss"] == [([10, 20], [1.0, 0.5])]
    assert set(drawn) == {"loss"}


def test_a_single_point_is_visible(tmp_path: Path, drawn: Drawn) -> None:
    figures.loss_curve(with_losses(tmp_path, 1.0))
    (line,) = drawn["loss"].axes[0].lines
    assert line.get_marker() == "o"


def test_an_interval_without_a_loss_leaves_a_gap(tmp_path: Path, drawn: Drawn) -> None:
    run_dir = begun(tmp_path, held_out=False)
    run_dir.append_metrics(training_row(30, loss=None))
    figures.loss_curve(run_dir)
    assert lines(drawn["loss"])["loss"] == [([10, 20], [1.0, 0.5])]


def test_what_is_watched_is_drawn_and_what_has_no_labels_left_out(tmp_path: Path, drawn: Drawn) -> None:
    run_dir = begun(tmp_path / "labelled")
    figures.watch_curve(run_dir)
    shown = lines(drawn["watch"])
    assert shown["kNN accuracy"] == [([0, 10, 20], [0.6, 0.65, 0.7])]
    assert list(shown) == ["kNN accuracy", "RankMe (dimensions)", "feature std"]
    run_dir = begun(tmp_path / "unlabelled", held_out=False)
    run_dir.append_metrics({"step": 0, "validation/std": 0.1, "validation/rank_me": 3.0})
    figures.watch_curve(run_dir)
    assert lines(drawn["watch"]) == {"RankMe (dimensions)": [([0], [3.0])], "feature std": [([0], [0.1])]}


def test_the_kept_step_is_marked_on_every_score_in_the_second_colour(tmp_path: Path, drawn: Drawn) -> None:
    run_dir = begun(tmp_path, held_out=False)
    for step in (0, 10):
        run_dir.append_metrics(
            {"step": step, "validation/loss": 1.0, "validation/accuracy": 0.5, "validation/macro_f1": 0.4}
        )
    figures.score_curve(run_dir, kept=10)
    assert [axis.get_ylabel() for axis in drawn["scores"].axes] == ["accuracy", "macro f1"]
    for axis in drawn["scores"].axes:
        curve, mark = axis.lines
        assert (curve.get_color(), mark.get_color()) == (palette.INK, palette.ACCENT)
        assert list(mark.get_xdata()) == [10, 10]
    assert [text.get_text() for text in drawn["scores"].axes[0].get_legend().get_texts()] == ["kept: step 10"]


def test_many_validations_have_few_markers(tmp_path: Path, drawn: Drawn) -> None:
    run_dir = begun(tmp_path, steps=(10, 20), held_out=False)
    for step in range(1000):
        run_dir.append_metrics(validation_row(step))
    figures.loss_curve(run_dir)
    validation = drawn["loss"].axes[0].lines[1]
    assert 12 <= 1000 / validation.get_markevery() <= 24


def test_the_model_leads_in_label_curves_whatever_the_order(tmp_path: Path, drawn: Drawn) -> None:
    point = {"labels": 10, "accuracy": 0.5, "low": 0.4, "high": 0.6}
    rows = [{"features": name, "curve": [point]} for name in ("raw pixels", "untrained", "evaluated")]
    figures.label_curves(tmp_path / "curves.png", rows, "$data")
    axis = drawn["curves"].axes[0]
    assert [line.get_label() for line in axis.lines] == ["evaluated", "raw pixels", "untrained"]
    assert axis.lines[0].get_color() == palette.INK


@pytest.mark.parametrize("recipe", [*method_names(), *task_names()])
def test_every_method_and_task_says_what_its_loss_is_counted_per(recipe: str) -> None:
    assert "per " in settings_of(recipe).loss_unit
