"""Runs as a table: their columns in words, in the order of any column."""

import math
import re
from collections.abc import Sequence
from datetime import datetime

from hfssl.evaluation.table import Table, TableCell, terminal_lines
from hfssl.reporting.facts import clock
from hfssl.reporting.markdown import one_line
from hfssl.reporting.run_listing import ListedRun

HEADER = ["name", "method", "data", "steps", "kNN", "linear", "score", "time", "changed", "state"]
_LOWER_IS_BETTER = ("word error rate", "character error rate", "mean squared error", "mean absolute error")
_LONGEST_NAME, _LONGEST_DATA = 40, 28
_FOOTNOTE = "* on validation rows while it trained; all other scores are those of the export at the end"


def in_order(runs: Sequence[ListedRun], column: str) -> list[ListedRun]:
    """Sorted by a column: the latest, the best or the largest first, words from a to z, what has no value last."""

    def place(run: ListedRun) -> tuple[bool, list[str | int], float, list[str | int]]:
        value = rank(run, column)
        words = value if isinstance(value, str) else ""
        number = value if isinstance(value, float) else math.inf
        if column == "score" and "score" in run.scores:
            words = run.scores["score"].name
        return value in (None, ""), _natural(words.lower()), number, _natural(run.name)

    return sorted(runs, key=place)


def rank(run: ListedRun, column: str) -> float | str | None:
    """What a column is sorted by, ascending; None where the run has no value there."""
    if column in ("name", "method", "data", "state"):
        return str(getattr(run, column))
    if column in ("knn", "linear", "score"):
        score = run.scores.get(column)
        if score is None:
            return None
        return score.value if score.name in _LOWER_IS_BETTER else -score.value
    number = {"changed": run.changed, "steps": run.step, "time": run.seconds}[column]
    return None if number is None else -float(number)


def _natural(name: str) -> list[str | int]:
    """`mae-9` comes before `mae-10`."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def cells_of(run: ListedRun) -> list[str]:
    """A text per column; what a user wrote is one line without control characters."""
    return [
        shortened(run.name, _LONGEST_NAME),
        one_line(run.method),
        shortened(run.data, _LONGEST_DATA),
        steps_of(run),
        *(score_of(run, name) for name in ("knn", "linear")),
        _named_score(run),
        "" if run.seconds is None else clock(run.seconds),
        moment(run),
        f"{run.state}: {one_line(run.reason)}" if run.reason else run.state,
    ]


def steps_of(run: ListedRun) -> str:
    """Done and planned."""
    if run.step is None:
        return ""
    return f"{run.step:,}" if run.max_steps is None else f"{run.step:,}/{run.max_steps:,}"


def score_of(run: ListedRun, column: str) -> str:
    """A score; that of validation rows has a star."""
    score = run.scores.get(column)
    return "" if score is None else f"{score.value:.3f}{'' if score.is_final else '*'}"


def _named_score(run: ListedRun) -> str:
    return f"{one_line(run.scores['score'].name)} {score_of(run, 'score')}" if "score" in run.scores else ""


def moment(run: ListedRun) -> str:
    """When the run last wrote, in local time."""
    return datetime.fromtimestamp(run.changed).strftime("%Y-%m-%d %H:%M")


def shortened(text: str, longest: int) -> str:
    """One line, its middle left out where it is too long: names often differ at their ends."""
    text = one_line(text)
    if len(text) <= longest:
        return text
    ending = longest * 2 // 3
    return f"{text[: longest - 1 - ending]}…{text[-ending:]}"


def table_lines(runs: Sequence[ListedRun]) -> list[str]:
    """The table for a terminal, without columns that are empty in all lines."""
    rows = [cells_of(run) for run in runs]
    shown = [column for column in range(len(HEADER)) if any(row[column] for row in rows)]
    lines = [(row[0], [TableCell(row[column]) for column in shown[1:]]) for row in rows]
    table = terminal_lines(Table([HEADER[column] for column in shown], lines))
    starred = any(not score.is_final for run in runs for score in run.scores.values())
    return [*table, _FOOTNOTE] if starred else table
