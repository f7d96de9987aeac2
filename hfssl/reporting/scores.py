"""The tables of eval/*.json as cells for people, each accuracy with its 95 % interval."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from hfssl.evaluation.intervals import interval_of
from hfssl.reporting.facts import NOT_MEASURED
from hfssl.reporting.markdown import Trusted, table

Row = Mapping[str, Any]
_NAMED_CLASSES = 20


class TableCell(NamedTuple):
    """A figure and, where there is one, its interval."""

    value: str
    interval: str = ""


class Table(NamedTuple):
    """header: a title for each column; lines: the name of the features, then a cell for each further column."""

    header: list[str]
    lines: list[tuple[str, list[TableCell]]]


def results_table(table: Row) -> Table:
    """The table at the end of a run: accuracies with the interval that the number of test rows leaves."""
    labels = next((row["num_labels"] for row in table["rows"] if "num_labels" in row), None)
    header = ["features", "width", "kNN", "linear", f"{labels} labels" if labels else "few labels", "std", "RankMe"]
    lines = []
    for row in table["rows"]:
        cells = [TableCell(str(row["width"]))]
        cells += [_accuracy(row.get(name), table["test_rows"]) for name in ("knn", "linear")]
        cells += [_of_draws(row), _figure(row.get("std"), 3), _figure(row.get("rank_me"), 1)]
        lines.append((str(row["features"]), cells))
    return Table(header, lines)


def evaluation_table(result: Row) -> Table:
    """The table of `hfssl evaluate`: kNN, linear probe and the label curve."""
    sizes = [f"{point['labels']} labels" for point in result["rows"][0]["curve"]]
    lines = []
    for row in result["rows"]:
        cells = [TableCell(str(row["width"]))]
        cells += [_accuracy(row[name], result["test_rows"]) for name in ("knn", "linear")]
        cells += [TableCell(f"{p['accuracy']:.3f}", f"{p['low']:.3f} to {p['high']:.3f}") for p in row["curve"]]
        cells += [_figure(row.get("std"), 3), _figure(row.get("rank_me"), 1)]
        lines.append((str(row["features"]), cells))
    return Table(["features", "width", "kNN", "linear", *sizes, "std", "RankMe"], lines)


def pretext_lines(summary: Row) -> list[str]:
    """How well the task that was trained on is solved, in sentences; none where its answers are neither right nor wrong.
    A sample counts once in an interval, however often it was asked about."""
    if "pretext" not in summary:
        return []
    found = summary["pretext"]
    which = "held-out" if found["held_out"] else "training"
    lines = []
    for part, accuracy in [("", found["accuracy"]), *found["parts"].items()]:
        low, high = interval_of(accuracy, found["rows"])
        figures = f"{accuracy:.3f} (95 % interval {low:.3f} to {high:.3f})"
        if not part:
            asked = f"the task itself on {found['rows']} {which} {found['samples']}"
            lines.append(f"{asked}: {figures} right, {found['chance']:.3f} by chance")
        elif len(found["parts"]) > 1:
            lines.append(f"{part}: {figures}")
    return lines


def as_markdown(scores: Table) -> Trusted:
    """A table of literal cells, intervals in brackets."""
    lines = [
        [name, *(f"{cell.value} ({cell.interval})" if cell.interval else cell.value for cell in cells)]
        for name, cells in scores.lines
    ]
    return table(scores.header, lines)


def class_names(result: Row) -> str:
    """The first classes of an evaluation by name, and how many more there are."""
    names = [str(name) for name in result["classes"]]
    more = f" and {len(names) - _NAMED_CLASSES} more" if len(names) > _NAMED_CLASSES else ""
    return ", ".join(names[:_NAMED_CLASSES]) + more


def _accuracy(value: float | None, num_rows: int) -> TableCell:
    if value is None:
        return TableCell(NOT_MEASURED)
    low, high = interval_of(value, num_rows)
    return TableCell(f"{value:.3f}", f"{low:.3f} to {high:.3f}")


def _of_draws(row: Row) -> TableCell:
    if "few_labels" not in row:
        return TableCell(NOT_MEASURED)
    mean, half = row["few_labels"], row["few_labels_interval"]
    return TableCell(f"{mean:.3f}", f"{mean - half:.3f} to {mean + half:.3f}")


def _figure(value: float | None, digits: int) -> TableCell:
    return TableCell("-") if value is None else TableCell(f"{value:.{digits}f}")
