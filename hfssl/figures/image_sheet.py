"""Sheets of images for people: which rows are nearest to which, which are strange. M queries, K neighbours."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib import pyplot
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from hfssl.figures.curves import INCHES_A_CELL, show_image, write_figure
from hfssl.figures.palette import INK, TEXT

_SHOWN_SIDE = 160


class SheetCell(NamedTuple):
    """image: (C, h, w) uint8; caption: what stands below it; framed: it is what the others are compared with."""

    image: Tensor
    caption: str
    framed: bool = False


def image_sheet(path: Path, lines: Sequence[tuple[str, Sequence[SheetCell]]], headings: Sequence[str] = ()) -> None:
    """A PNG of titled lines of captioned images; headings: of the first columns, left-aligned over them."""
    num_columns = max(len(cells) for _, cells in lines)
    size = (INCHES_A_CELL * num_columns + 0.4, (INCHES_A_CELL + 0.25) * len(lines))
    figure, axes = pyplot.subplots(len(lines), num_columns, figsize=size, squeeze=False, layout="constrained")
    for line, (title, cells) in enumerate(lines):
        for column, axis in enumerate(axes[line]):
            if column >= len(cells):
                axis.set_axis_off()
                continue
            show_image(axis, cells[column].image)
            axis.set_xlabel(cells[column].caption, fontsize=7, parse_math=False)
            if cells[column].framed:
                axis.spines[:].set(visible=True, color=INK, linewidth=2.5)
        axes[line][0].set_ylabel(title, fontsize=9, parse_math=False)
    for axis, heading in zip(axes[0], headings, strict=False):
        axis.set_title(" ", fontsize=9)  # keeps room; a text of its own may reach over the columns on its right
        text = axis.text(0, 1.05, heading, fontsize=9, color=TEXT, transform=axis.transAxes, parse_math=False)
        text.set_in_layout(False)
    write_figure(figure, path)


def nearest_lines(
    queries: Sequence[SheetCell], rows_MK: Tensor, similarities_MK: Tensor, cell: Callable[[int, str], SheetCell]
) -> list[tuple[str, list[SheetCell]]]:
    """A line for each query: itself, then `cell(row, similarity)` of its nearest rows."""
    lines = []
    for query, rows, similarities in zip(queries, rows_MK.tolist(), similarities_MK.tolist(), strict=False):
        nearest = [cell(row, f"{similarity:.3f}") for row, similarity in zip(rows, similarities, strict=True)]
        lines.append(("nearest", [query, *nearest]))
    return lines


def shrunk(image: Tensor) -> Tensor:
    """The image as a sheet shows it."""
    longest = max(image.shape[1:])
    if longest <= _SHOWN_SIDE:
        return image
    return resize(image, [max(1, round(side * _SHOWN_SIDE / longest)) for side in image.shape[1:]], antialias=True)
