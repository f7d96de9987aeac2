"""Figures of a run: PNG files in `figures/`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.figure import Figure
from torch import Tensor

from hfssl.objective import Picture
from hfssl.run_dir import RunDir

_INCHES_A_CELL = 1.3
_INK = "#1f4e79"


def loss_curve(run_dir: RunDir) -> None:
    """figures/loss.png: loss and learning rate over steps, from metrics.jsonl."""
    rows = run_dir.read_metrics()
    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(7, 5), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    losses = [(row["step"], row["loss"]) for row in rows if row["loss"] is not None]
    if losses:
        above.plot(*zip(*losses, strict=True), color=_INK, linewidth=1.5)
        smallest, largest = min(loss for _, loss in losses), max(loss for _, loss in losses)
        if smallest > 0 and largest / smallest > 20:
            above.set_yscale("log")
    above.set_ylabel("training loss")
    above.grid(alpha=0.3)
    below.plot([row["step"] for row in rows], [row["learning_rate"] for row in rows], color="#888888")
    below.set_ylabel("learning rate")
    below.set_xlabel("step")
    below.grid(alpha=0.3)
    _save(figure, run_dir, "loss")


def picture(run_dir: RunDir, content: Picture) -> None:
    """figures/<name>.png: a grid of images with titled rows."""
    num_rows, num_columns = content.cells.shape[:2]
    size = (_INCHES_A_CELL * num_columns + 0.4, _INCHES_A_CELL * num_rows)
    figure, axes = pyplot.subplots(num_rows, num_columns, figsize=size, squeeze=False, layout="constrained")
    for row in range(num_rows):
        for column in range(num_columns):
            _show(axes[row][column], content.cells[row, column])
        axes[row][0].set_ylabel(content.titles[row], fontsize=9)
    _save(figure, run_dir, content.name)


def label_curves(path: Path, rows: Sequence[Mapping[str, Any]], data: str) -> None:
    """A PNG of accuracy against labels, a line with its 95 % band for each kind of features."""
    figure, axis = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for row in rows:
        labels = [point["labels"] for point in row["curve"]]
        (line,) = axis.plot(labels, [point["accuracy"] for point in row["curve"]], marker="o", label=row["features"])
        low, high = ([point[side] for point in row["curve"]] for side in ("low", "high"))
        axis.fill_between(labels, low, high, color=line.get_color(), alpha=0.15)
    axis.set(xscale="log", xlabel="labelled training rows", ylabel="test accuracy of the linear probe", title=data)
    axis.grid(alpha=0.3)
    axis.legend()
    _write(figure, path)


class Cell(NamedTuple):
    """image: (C, h, w) uint8; caption: what stands below it; framed: it is what the others are compared with."""

    image: Tensor
    caption: str
    framed: bool = False


def image_sheet(path: Path, lines: Sequence[tuple[str, Sequence[Cell]]]) -> None:
    """A PNG of titled lines of captioned images."""
    num_columns = max(len(cells) for _, cells in lines)
    size = (_INCHES_A_CELL * num_columns + 0.4, (_INCHES_A_CELL + 0.25) * len(lines))
    figure, axes = pyplot.subplots(len(lines), num_columns, figsize=size, squeeze=False, layout="constrained")
    for line, (title, cells) in enumerate(lines):
        for column, axis in enumerate(axes[line]):
            if column >= len(cells):
                axis.set_axis_off()
                continue
            _show(axis, cells[column].image)
            axis.set_xlabel(cells[column].caption, fontsize=7)
            if cells[column].framed:
                axis.spines[:].set(visible=True, color=_INK, linewidth=2.5)
        axes[line][0].set_ylabel(title, fontsize=9)
    _write(figure, path)


def _show(axis: Any, image: Any) -> None:
    channels = image.shape[0]
    colour = image.permute(1, 2, 0).numpy() if channels == 3 else image[:1].permute(1, 2, 0).repeat(1, 1, 3).numpy()
    axis.imshow(colour, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _save(figure: Figure, run_dir: RunDir, name: str) -> None:
    _write(figure, run_dir.figures / f"{name}.png")


def _write(figure: Figure, path: Path) -> None:
    """A reader sees the old picture or the new, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    figure.savefig(unfinished, format="png", dpi=150, metadata={"Software": None})
    pyplot.close(figure)
    unfinished.replace(path)
