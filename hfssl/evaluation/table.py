"""The rows and columns of results tables, laid out once for terminal, Markdown and HTML."""

from itertools import compress
from typing import NamedTuple

from hfssl.evaluation.intervals import interval_of
from hfssl.run_dir import Json, JsonView

Row = JsonView
NOT_MEASURED = "not measured"


class TableCell(NamedTuple):
    """A figure and, where there is one, its interval; brief: both as a terminal shows them, where that is shorter."""

    value: str
    interval: str = ""
    brief: str | None = None


class Table(NamedTuple):
    """header: a title for each column; lines: the name of a line, then a cell for each further column."""

    header: list[str]
    lines: list[tuple[str, list[TableCell]]]


def unscored(data: str | None, train_rows: int) -> Json:
    """The results of a run whose table could not be made: rows, and no scores."""
    return {
        "rows": [],
        "data": str(data),
        "train_rows": train_rows,
        "test_rows": 0,
        "test_split": None,
        "test_rows_were_watched": False,
        "protocol": {},
    }


def layout_of_summary(table: Row) -> Table:
    """The table at the end of a run: accuracies with the interval that the number of test rows leaves."""
    labels = next((row["num_labels"] for row in table["rows"] if "num_labels" in row), None)
    title = f"{labels} labels" if labels else "few labels"
    return _layout(table, [title], [[_of_draws(row)] for row in table["rows"]])


def layout_of_evaluation(result: Row) -> Table:
    """The table of `hfssl evaluate`: kNN, linear probe and the label curve."""
    titles = [f"{point['labels']} labels" for point in result["rows"][0]["curve"]]
    return _layout(result, titles, [[_of_point(point) for point in row["curve"]] for row in result["rows"]])


def layout_of_study(result: Row) -> Table:
    """The table of a study of labels: a line for each way of training."""
    titles = [f"{point['labels']:,} labels" for point in result["rows"][0]["curve"]]
    lines = [(str(row["features"]), [_of_point(point) for point in row["curve"]]) for row in result["rows"]]
    return Table(["trained", *titles], lines)


def summary_lines(table: Row) -> list[str]:
    """The table at the end of a run for a terminal, with the warnings about the pretrained encoder."""
    rows = table["rows"]
    if not rows:
        return []
    warnings = [text for row in rows if row["features"] == "pretrained" for text in row.get("warnings", [])]
    return terminal_lines(layout_of_summary(table)) + warnings


def terminal_lines(table: Table) -> list[str]:
    """The table in columns of equal width, under its header; columns without a figure are left out."""
    body = [
        [name, *(cell.value if cell.brief is None else cell.brief for cell in cells)] for name, cells in table.lines
    ]
    is_told = [any(line[column] != "-" for line in body) for column in range(len(table.header))]
    lines = [list(compress(line, is_told)) for line in (table.header, *body)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _layout(table: Row, titles: list[str], few_labels: list[list[TableCell]]) -> Table:
    """titles, few_labels: the columns of probes on few labels, and their cells of each row."""
    lines = []
    for row, cells in zip(table["rows"], few_labels, strict=True):
        scores = [_accuracy(row.get(name), table["test_rows"]) for name in ("knn", "linear")]
        spread = [_figure(row.get("std"), 3), _figure(row.get("rank_me"), 1)]
        lines.append((str(row["features"]), [TableCell(str(row["width"])), *scores, *cells, *spread]))
    return Table(["features", "width", "kNN", "linear", *titles, "std", "RankMe"], lines)


def _accuracy(value: float | None, num_rows: int) -> TableCell:
    if value is None:
        return TableCell(NOT_MEASURED, brief="-")
    return TableCell(f"{value:.3f}", _between(*interval_of(value, num_rows)), brief=f"{value:.3f}")


def _of_draws(row: Row) -> TableCell:
    if "few_labels" not in row:
        return TableCell(NOT_MEASURED, brief="-")
    mean, half = row["few_labels"], row["few_labels_interval"]
    return TableCell(f"{mean:.3f}", _between(mean - half, mean + half), brief=f"{mean:.3f} ± {half:.3f}")


def _of_point(point: Row) -> TableCell:
    accuracy, low, high = (f"{point[name]:.3f}" for name in ("accuracy", "low", "high"))
    return TableCell(accuracy, f"{low} to {high}", brief=f"{accuracy} [{low}, {high}]")


def _figure(value: float | None, digits: int) -> TableCell:
    return TableCell("-") if value is None else TableCell(f"{value:.{digits}f}")


def _between(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"
