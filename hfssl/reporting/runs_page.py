"""index.html of a folder of runs: one file that needs nothing else, to sort, filter and compare runs."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote_from_bytes

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hfssl.config.invocation import command
from hfssl.reporting.facts import clock
from hfssl.reporting.markdown import one_line
from hfssl.reporting.run_listing import ListedRun
from hfssl.reporting.runs_table import moment, rank, score_of, steps_of
from hfssl.run_dir import RunDir, write_text

INDEX = "index.html"
_COLUMNS = {
    "name": "name",
    "state": "state",
    "method": "method",
    "data": "data",
    "steps": "steps",
    "knn": "kNN",
    "linear": "linear",
    "score": "score",
    "time": "time",
    "changed": "changed",
}
_NUMBERS = frozenset({"steps", "knn", "linear", "score", "time", "changed"})  # shown largest or best first
_DIGITS = 4  # of a number in a curve


class PageCell(NamedTuple):
    """A cell: its text, what it is sorted by (ascending, empty last), and a small note below the text."""

    column: str
    text: str
    rank: str
    note: str = ""


class PageRun(NamedTuple):
    """A row of the table; report: a relative link, empty where there is none; share: of the planned steps that are done."""

    name: str
    report: str
    method: str
    state: str
    reason: str
    share: float | None
    cells: list[PageCell]
    has_curves: bool


def write_index(folder: Path, runs: Sequence[ListedRun], sort: str) -> Path:
    """Write index.html of the runs in `folder`; returns its path.

    Args:
        runs: in the order of the column `sort`.

    Raises:
        OSError: the folder cannot be written to.
    """
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("runs_template.html")
    content = {
        "folder": one_line(str(folder.absolute())),
        "runs": [_page_run(run) for run in runs],
        "methods": sorted({one_line(run.method) for run in runs if run.method}),
        "curves": [{title: _plain(points) for title, points in run.curves.items()} for run in runs],
        "written": datetime.now().strftime("%Y-%m-%d %H:%M"),
        "command": command("runs", str(folder)),
        "columns": [(column, title, column in _NUMBERS) for column, title in _COLUMNS.items()],
        "numbers": _NUMBERS,
        "sort": sort,
        "starred": any(not score.is_final for run in runs for score in run.scores.values()),
    }
    write_text(folder / INDEX, page.render(content))
    return folder / INDEX


def _page_run(run: ListedRun) -> PageRun:
    name = one_line(run.name)
    texts = {
        "method": one_line(run.method),
        "data": one_line(run.data),
        "steps": steps_of(run),
        "knn": score_of(run, "knn"),
        "linear": score_of(run, "linear"),
        "score": score_of(run, "score"),
        "time": "" if run.seconds is None else clock(run.seconds),
        "changed": moment(run),
    }
    notes = {"score": one_line(run.scores["score"].name)} if "score" in run.scores else {}
    share = None if run.step is None or not run.max_steps else min(1.0, run.step / run.max_steps)
    return PageRun(
        name=name,
        report=_link(run) if run.has_report else "",
        method=one_line(run.method),
        state=run.state,
        reason=one_line(run.reason),
        share=share,
        cells=[PageCell(column, text, _rank(run, column), notes.get(column, "")) for column, text in texts.items()],
        has_curves=any(run.curves.values()),
    )


def _link(run: ListedRun) -> str:
    """Relative to the page, whatever the folder is called."""
    return f"./{quote_from_bytes(run.path.name.encode(errors='surrogateescape'))}/{RunDir(run.path).report_file.name}"


def _rank(run: ListedRun, column: str) -> str:
    value = rank(run, column)
    if value is None:
        return ""
    return value.lower() if isinstance(value, str) else repr(value)


def _plain(points: Sequence[tuple[int, float]]) -> list[list[Any]]:
    """Steps and values as two short lists."""
    return [[step for step, _ in points], [float(f"{value:.{_DIGITS}g}") for _, value in points]]
