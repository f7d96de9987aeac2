"""Figures of a run: PNG files in `figures/`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from hfssl.run_dir import JsonView, RunDir

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.figure import Figure

from hfssl.figures import palette
from hfssl.objective import Picture

Point = tuple[int, float]
INCHES_A_CELL = 1.3
_WATCHED = {"knn": "kNN accuracy", "rank_me": "RankMe (dimensions)", "std": "feature std"}
_OF_THE_MODEL = ("evaluated", "fine-tuned")
_NUMBER_OF = {"training": 0, "validation": 1}  # of its line in the palette


def loss_curve(run_dir: RunDir, unit: str = "") -> None:
    """figures/loss.png: training loss, validation loss where there is one, and learning rate over steps.

    Args:
        unit: of the loss, like `nats per token`.
    """
    rows = run_dir.training_rows()
    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(7, 5), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    curves = {"training": _points(rows, "loss"), "validation": _points(run_dir.validation_rows(), "validation/loss")}
    for name, points in curves.items():
        if points:
            above.plot(*zip(*points, strict=True), label=name, **_look(name, len(points)))
    losses = [loss for points in curves.values() for _, loss in points]
    if palette.wants_log(losses):
        palette.log_scale(above, losses)
    if losses:
        above.legend(frameon=False, labelcolor=palette.TEXT)
    above.set_ylabel(f"loss ({unit})" if unit else "loss", parse_math=False)
    below.plot([row["step"] for row in rows], [row["learning_rate"] for row in rows], color=palette.SOFT)
    below.set_ylabel("learning rate")
    below.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    _over_steps(above, below)
    write_figure(figure, run_dir.figures / "loss.png")


def _look(name: str, num_points: int) -> dict[str, Any]:
    """Training is one solid line, which needs no markers unless it is one point; validation is dashed, a marker each."""
    look = palette.marked(num_points, palette.line(_NUMBER_OF[name]))
    return look | {"marker": ""} if name == "training" and num_points > 1 else look


def watch_curve(run_dir: RunDir) -> None:
    """figures/watch.png: kNN, RankMe and std of validation features over steps; nothing where they were not watched."""
    rows = run_dir.validation_rows()
    _small_multiples(run_dir, "watch", [(title, _points(rows, f"validation/{key}")) for key, title in _WATCHED.items()])


def score_curve(run_dir: RunDir, kept: int | None = None) -> None:
    """figures/scores.png: scores of the validation rows over steps, with the kept step marked; nothing where none was logged."""
    rows = run_dir.validation_rows()
    keys = list(dict.fromkeys(key for row in rows for key in row if key.startswith("validation/")))
    named = [(key.removeprefix("validation/"), _points(rows, key)) for key in keys if key != "validation/loss"]
    _small_multiples(run_dir, "scores", [(name.replace("_", " "), points) for name, points in named], kept)


def _small_multiples(
    run_dir: RunDir, name: str, curves: Sequence[tuple[str, Sequence[Point]]], kept: int | None = None
) -> None:
    """A panel for each curve that has points, one over the other, with a vertical line at the `kept` step."""
    curves = [(title, points) for title, points in curves if points]
    if not curves:
        return
    size = (7, 1.8 * len(curves) + 0.4)
    figure, axes = pyplot.subplots(len(curves), 1, figsize=size, sharex=True, squeeze=False, layout="constrained")
    for axis, (title, points) in zip(axes[:, 0], curves, strict=True):
        axis.plot(*zip(*points, strict=True), **palette.marked(len(points), palette.line(0)))
        axis.set_ylabel(title, parse_math=False)
        if kept is not None:
            axis.axvline(kept, color=palette.ACCENT, linestyle="--", linewidth=1.4, label=f"kept: step {kept:,}")
    if kept is not None:
        axes[0, 0].legend(frameon=False, fontsize=9, labelcolor=palette.TEXT)
    _over_steps(*axes[:, 0])
    write_figure(figure, run_dir.figures / f"{name}.png")


def _over_steps(*axes: Any) -> None:
    """Axes one over the other, which share their steps."""
    palette.counted(axes[-1])
    for axis in axes:
        palette.plain(axis)
    axes[0].figure.align_ylabels(axes)


def _points(rows: Sequence[JsonView], key: str) -> list[Point]:
    """(step, value) where there is a value: none in an interval whose steps were all skipped."""
    return [(row["step"], row[key]) for row in rows if row.get(key) is not None]


def picture(run_dir: RunDir, content: Picture) -> None:
    """figures/<name>.png: a grid of images with titled rows."""
    num_rows, num_columns = content.cells.shape[:2]
    size = (INCHES_A_CELL * num_columns + 0.4, INCHES_A_CELL * num_rows)
    figure, axes = pyplot.subplots(num_rows, num_columns, figsize=size, squeeze=False, layout="constrained")
    for row in range(num_rows):
        for column in range(num_columns):
            show_image(axes[row][column], content.cells[row, column])
            if content.captions:
                axes[row][column].set_xlabel(content.captions[row][column], fontsize=7, parse_math=False)
        axes[row][0].set_ylabel(content.titles[row], fontsize=9)
    write_figure(figure, run_dir.figures / f"{content.name}.png")


def label_curves(
    path: Path, rows: Sequence[JsonView], data: str, measured: str = "test accuracy of the linear probe"
) -> None:
    """A PNG of accuracy against labels, a line with its 95 % band for each kind of features; that of the model comes first."""
    figure, axis = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for number, row in enumerate(sorted(rows, key=lambda row: row["features"] not in _OF_THE_MODEL)):
        look = palette.line(number)
        labels = [point["labels"] for point in row["curve"]]
        accuracies = [point["accuracy"] for point in row["curve"]]
        axis.plot(labels, accuracies, label=row["features"], **palette.marked(len(labels), look))
        low, high = ([point[side] for point in row["curve"]] for side in ("low", "high"))
        axis.fill_between(labels, low, high, color=look.colour, alpha=0.12, linewidth=0)
    axis.set(xscale="log", xlabel="labelled training rows", ylabel=measured)
    counts = sorted({point["labels"] for row in rows for point in row["curve"]})
    axis.set_xticks(counts, [f"{count:,}" for count in counts])
    axis.xaxis.minorticks_off()
    axis.set_title(data, fontsize=11, color=palette.TEXT, parse_math=False)
    palette.plain(axis)
    axis.legend(frameon=False, labelcolor=palette.TEXT, title="band: 95 % interval", title_fontsize=9)
    write_figure(figure, path)


def show_image(axis: Any, image: Any) -> None:
    channels = image.shape[0]
    colour = image.permute(1, 2, 0).numpy() if channels == 3 else image[:1].permute(1, 2, 0).repeat(1, 1, 3).numpy()
    axis.imshow(colour, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def write_figure(figure: Figure, path: Path) -> None:
    """A reader sees the old picture or the new, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    figure.savefig(unfinished, format="png", dpi=150, metadata={"Software": None})
    pyplot.close(figure)
    unfinished.replace(path)
