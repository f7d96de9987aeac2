"""What a classifier confuses, how far its probabilities can be trusted, and its worst mistakes, as PNG files.

They are drawn from the plain dictionary that `evaluation/classification.py` makes and eval/*.json holds. C classes, of which
K are shown.
"""

from collections.abc import Callable

import numpy as np
from matplotlib import pyplot
from torch import Tensor

from hfssl.figures.curves import write_figure
from hfssl.figures.image_sheet import SheetCell, image_sheet, shrunk
from hfssl.figures.palette import ACCENT, INK, SOFT, plain
from hfssl.objective import Array
from hfssl.run_dir import JsonView, RunDir

Summary = JsonView
MOST_CLASSES = 20
MOST_MISTAKES, _MISTAKES_A_LINE = 24, 6
_LONGEST_TICK, _LONGEST_CAPTION = 22, 16


def confusion_figure(run_dir: RunDir, summary: Summary) -> None:
    """figures/confusion.png: predictions for the rows of each class, as counts, shaded by their share of the class."""
    confusion_CC = np.array(summary["confusion"])
    shown_K = most_confused(confusion_CC)
    counts_KK = confusion_CC[np.ix_(shown_K, shown_K)]
    support_K = confusion_CC.sum(axis=1)[shown_K]
    shares_KK = counts_KK / np.maximum(support_K, 1)[:, None]
    names = [short(summary["classes"][number], _LONGEST_TICK) for number in shown_K.tolist()]
    side = max(3.0, 1.0 + 0.42 * len(shown_K))
    figure, axis = pyplot.subplots(figsize=(side + 1.6, side + 1.2), layout="constrained")
    image = axis.imshow(shares_KK, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts_KK > 0).tolist():
        colour = "white" if shares_KK[row, column] > 0.5 else "black"
        count = f"{counts_KK[row, column]}"
        axis.text(
            column, row, count, color=colour, fontsize=7, horizontalalignment="center", verticalalignment="center"
        )
    ticks = range(len(names))
    axis.set_xticks(ticks, names, rotation=90, fontsize=8, parse_math=False)
    true_names = [f"{name}{'' if rows else ' (no rows)'}" for name, rows in zip(names, support_K.tolist(), strict=True)]
    axis.set_yticks(ticks, true_names, fontsize=8, parse_math=False)
    axis.set(xlabel="predicted class", ylabel="true class")
    if len(shown_K) < len(confusion_CC):
        axis.set_title(
            f"the {len(shown_K)} of {len(confusion_CC)} classes with most mistakes;\nshares are of all rows of a class",
            fontsize=9,
        )
    figure.colorbar(image, ax=axis, label="share of the true class", shrink=0.7)
    write_figure(figure, run_dir.figures / "confusion.png")


def most_confused(confusion_CC: Array) -> Array:
    """(K,) ascending: the classes with most mistakes, as the true or as the predicted one; all up to MOST_CLASSES."""
    mistakes_CC = confusion_CC - np.diag(np.diagonal(confusion_CC))
    mistakes_C = mistakes_CC.sum(axis=0) + mistakes_CC.sum(axis=1)
    chosen: Array = np.sort(np.argsort(-mistakes_C, kind="stable")[:MOST_CLASSES])
    return chosen


def calibration_figure(run_dir: RunDir, summary: Summary) -> None:
    """figures/calibration.png: accuracy against the probability of the prediction, the gap between them, rows in each bin."""
    bins = [one for one in summary["calibration_bins"] if one["rows"]]
    centres = [(one["low"] + one["high"]) / 2 for one in bins]
    widths = [one["high"] - one["low"] for one in bins]
    accuracies, confidences = ([one[key] for one in bins] for key in ("accuracy", "confidence"))
    gaps = [confidence - accuracy for accuracy, confidence in zip(accuracies, confidences, strict=True)]
    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(5.2, 6), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    above.bar(centres, accuracies, widths, color=INK, edgecolor="white", label="accuracy")
    gap = {"facecolor": "none", "edgecolor": ACCENT, "hatch": "////"}
    above.bar(centres, gaps, widths, bottom=accuracies, label="gap to the mean probability", **gap)
    above.plot([0, 1], [0, 1], color=SOFT, linestyle="--", linewidth=1)
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    above.set_title(f"expected calibration error {summary['calibration_error']:.3f}", fontsize=10)
    above.legend(frameon=False, fontsize=9, loc="upper left")
    below.bar(centres, [one["rows"] / summary["rows"] for one in bins], widths, color=SOFT, edgecolor="white")
    below.set(xlabel="probability of the predicted class", ylabel="share of rows")
    for axis in (above, below):
        plain(axis)
    write_figure(figure, run_dir.figures / "calibration.png")


def mistakes_figure(run_dir: RunDir, summary: Summary, image_of: Callable[[int], Tensor]) -> None:
    """figures/mistakes.png: the wrong predictions of which the model was surest; none where it was never wrong.

    Args:
        image_of: a row's (C, h, w) uint8 image.
    """
    path = run_dir.figures / "mistakes.png"
    path.unlink(missing_ok=True)
    worst = summary["mistakes"][:MOST_MISTAKES]
    if not worst:
        return

    def cell(mistake: JsonView) -> SheetCell:
        true, said = (short(summary["classes"][mistake[key]], _LONGEST_CAPTION) for key in ("true", "said"))
        return SheetCell(
            shrunk(image_of(mistake["row"])), f"true {true}\npredicted {said}\n{mistake['probability']:.3f}"
        )

    starts = range(0, len(worst), _MISTAKES_A_LINE)
    image_sheet(
        path, [("", [cell(mistake) for mistake in worst[start : start + _MISTAKES_A_LINE]]) for start in starts]
    )


def short(name: str, most: int) -> str:
    """One line of at most `most` characters: the middle of a longer name goes, since many differ at their end only."""
    name = " ".join(str(name).split())
    if len(name) <= most:
        return name
    ending = (most - 1) // 2
    return f"{name[: most - 1 - ending]}…{name[-ending:]}"
