"""Figures of a run: PNG files in `figures/`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from hfssl.run_dir import JsonView

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.figure import Figure

from hfssl.objective import Picture
from hfssl.run_dir import RunDir

INCHES_A_CELL = 1.3
INK = "#1f4e79"
_SECOND_INK = "#c2571a"
_WATCHED = {"knn": "kNN accuracy", "rank_me": "RankMe", "std": "feature std"}


def loss_curve(run_dir: RunDir) -> None:
    """figures/loss.png: training loss, validation loss where there is one, and learning rate over steps."""
    rows = run_dir.training_rows()
    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(7, 5), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    training = _points(rows, "loss")
    validation = _points(run_dir.validation_rows(), "validation/loss")
    for points, label, colour in ((training, "training", INK), (validation, "validation", _SECOND_INK)):
        if points:
            above.plot(*zip(*points, strict=True), color=colour, linewidth=1.5, label=label)
    losses = [loss for _, loss in training + validation]
    if losses and min(losses) > 0 and max(losses) / min(losses) > 20:
        above.set_yscale("log")
    if validation:
        above.legend()
    above.set_ylabel("loss" if validation else "training loss")
    above.grid(alpha=0.3)
    below.plot([row["step"] for row in rows], [row["learning_rate"] for row in rows], color="#888888")
    below.set_ylabel("learning rate")
    below.set_xlabel("step")
    below.grid(alpha=0.3)
    _save(figure, run_dir, "loss")


def watch_curve(run_dir: RunDir) -> None:
    """figures/watch.png: std, RankMe and kNN of validation features over steps; nothing without them."""
    rows = run_dir.validation_rows()
    validation = [(title, _points(rows, f"validation/{key}")) for key, title in _WATCHED.items()]
    validation = [(title, points) for title, points in validation if points]
    if not validation:
        return
    figure, axes = pyplot.subplots(
        len(validation), 1, figsize=(7, 1.8 * len(validation) + 0.4), sharex=True, squeeze=False, layout="constrained"
    )
    for axis, (title, points) in zip(axes[:, 0], validation, strict=True):
        axis.plot(*zip(*points, strict=True), color=INK, linewidth=1.5, marker="o", markersize=3)
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
    axes[-1, 0].set_xlabel("step")
    _save(figure, run_dir, "watch")


def score_curve(run_dir: RunDir, kept: int | None = None) -> None:
    """figures/scores.png: scores of the validation rows over steps, with the kept step marked; nothing where none was logged."""
    rows = run_dir.validation_rows()
    keys = list(dict.fromkeys(key for row in rows for key in row if key.startswith("validation/")))
    named = [(key.removeprefix("validation/"), _points(rows, key)) for key in keys if key != "validation/loss"]
    named = [(name, points) for name, points in named if points]
    if not named:
        return
    figure, axes = pyplot.subplots(
        len(named), 1, figsize=(7, 1.8 * len(named) + 0.4), sharex=True, squeeze=False, layout="constrained"
    )
    for axis, (name, points) in zip(axes[:, 0], named, strict=True):
        axis.plot(*zip(*points, strict=True), color=INK, linewidth=1.5, marker="o", markersize=3)
        axis.set_ylabel(name.replace("_", " "), parse_math=False)
        axis.grid(alpha=0.3)
        if kept is not None:
            axis.axvline(kept, color=_SECOND_INK, linestyle="--", linewidth=1.2, label=f"kept: step {kept}")
    if kept is not None:
        axes[0, 0].legend(fontsize=8)
    axes[-1, 0].set_xlabel("step")
    _save(figure, run_dir, "scores")


def _points(rows: Sequence[JsonView], key: str) -> list[tuple[int, float]]:
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
    _save(figure, run_dir, content.name)


def label_curves(
    path: Path, rows: Sequence[JsonView], data: str, measured: str = "test accuracy of the linear probe"
) -> None:
    """A PNG of accuracy against labels, a line with its 95 % band for each kind of features."""
    figure, axis = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for row in rows:
        labels = [point["labels"] for point in row["curve"]]
        (line,) = axis.plot(labels, [point["accuracy"] for point in row["curve"]], marker="o", label=row["features"])
        low, high = ([point[side] for point in row["curve"]] for side in ("low", "high"))
        axis.fill_between(labels, low, high, color=line.get_color(), alpha=0.15)
    axis.set(xscale="log", xlabel="labelled training rows", ylabel=measured)
    counts = sorted({point["labels"] for row in rows for point in row["curve"]})
    axis.set_xticks(counts, [f"{count:,}" for count in counts])
    axis.xaxis.minorticks_off()
    axis.set_title(data, parse_math=False)
    axis.grid(alpha=0.3)
    axis.legend()
    write_figure(figure, path)


def show_image(axis: Any, image: Any) -> None:
    channels = image.shape[0]
    colour = image.permute(1, 2, 0).numpy() if channels == 3 else image[:1].permute(1, 2, 0).repeat(1, 1, 3).numpy()
    axis.imshow(colour, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _save(figure: Figure, run_dir: RunDir, name: str) -> None:
    write_figure(figure, run_dir.figures / f"{name}.png")


def write_figure(figure: Figure, path: Path) -> None:
    """A reader sees the old picture or the new, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    figure.savefig(unfinished, format="png", dpi=150, metadata={"Software": None})
    pyplot.close(figure)
    unfinished.replace(path)
