"""Colours and lines of all charts: they stay apart in grey print and for colour-blind readers, on a white ground.

Blue and vermilion differ for every kind of colour blindness. Their lightness differs by 32 L* units, so that grey print
keeps them apart; a line style and a marker of its own do so for each further line.
"""

from typing import Any, NamedTuple

from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

INK = "#12355b"
ACCENT = "#d55e00"
SOFT = "#7d8793"  # what is not the point: learning rates, diagonals, distractors
TEXT = "#1b2430"
_GRID, _SPINE = "#dde2e8", "#9aa3ad"
_MOST_MARKERS = 24
_LOG_RATIO = 5.0
_RATIO_WITH_ALL_TICKS = 200.0


class Line(NamedTuple):
    """How one of several lines is drawn."""

    colour: str
    style: str
    marker: str


LINES = (
    Line(INK, "-", "o"),
    Line(ACCENT, "--", "s"),
    Line("#009e73", ":", "^"),
    Line("#7d8793", "-.", "D"),
    Line("#a3478a", (0, (6, 1, 1, 1, 1, 1)), "v"),  # type: ignore[arg-type]
)


def line(number: int) -> Line:
    """The line of this number; they come again where there are more than five."""
    return LINES[number % len(LINES)]


def marked(num_points: int, look: Line) -> dict[str, Any]:
    """Arguments of `plot` for a line with at most a couple of dozen markers, hollow so that lines show through."""
    return {
        "color": look.colour,
        "linestyle": look.style,
        "linewidth": 1.8,
        "marker": look.marker,
        "markersize": 4.5,
        "markerfacecolor": "white",
        "markeredgewidth": 1.4,
        "markevery": max(1, -(-num_points // _MOST_MARKERS)),
    }


def plain(axis: Any) -> None:
    """Two soft spines, a faint grid behind the data, text in ink."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(_SPINE)
    axis.grid(color=_GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(colors=_SPINE, labelcolor=TEXT, labelsize=9)
    for label in (axis.xaxis.label, axis.yaxis.label):
        label.set(color=TEXT, fontsize=10)


def counted(axis: Any) -> None:
    """Whole steps along the bottom, with separators between thousands."""
    axis.set_xlabel("optimizer step")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 2.5, 5, 10]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def wants_log(values: list[float]) -> bool:
    """Whether a log scale helps: all values are positive, and the largest is more than five times the smallest."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > _LOG_RATIO


def log_scale(axis: Any, values: list[float]) -> None:
    """A log scale with ticks in plain numbers."""
    axis.set_yscale("log")
    parts = (1.0, 2.0, 3.0, 5.0) if max(values) / min(values) < _RATIO_WITH_ALL_TICKS else (1.0,)
    axis.yaxis.set_major_locator(LogLocator(subs=parts))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_locator(NullLocator())
