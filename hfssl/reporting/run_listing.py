"""What a folder of runs holds: a line per run, of damaged and foreign folders the reason why they cannot be read.

Nothing heavy is imported, and files may be written by a running process while they are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from hfssl.errors import ConfigError, one_line, require
from hfssl.reporting.curve_thinning import Point, thinned
from hfssl.reporting.facts import Facts, Row, before_and_after, facts_of
from hfssl.reporting.task_scores import in_words, main_names
from hfssl.run_dir import LABEL_STUDY, RunDir

State = Literal["finished", "running", "interrupted", "broken"]
_CURVES = {"training loss": "loss", "validation loss": "validation/loss", "kNN": "validation/knn"}
_DAMAGED = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    ZeroDivisionError,
)  # a file says something else


class ListedScore(NamedTuple):
    """A figure of a run; is_final: of the export at the end, not of validation rows while it trained."""

    name: str
    value: float
    is_final: bool


@dataclass(frozen=True)
class ListedRun:
    """A folder. Everything but name, path, state and changed is empty where it cannot be read.

    reason: why it is broken; step, max_steps: done and planned; seconds: wall time of training; changed: when it was last
    written, in seconds since 1970.
    scores: `knn` and `linear` of an encoder, `score` of a task; curves: title -> at most 300 points.
    """

    name: str
    path: Path
    state: State
    changed: float
    reason: str = ""
    method: str = ""
    data: str = ""
    step: int | None = None
    max_steps: int | None = None
    seconds: float | None = None
    scores: dict[str, ListedScore] = field(default_factory=dict)
    curves: dict[str, list[Point]] = field(default_factory=dict)
    has_report: bool = False


def list_runs(folder: Path) -> list[ListedRun]:
    """Every folder in `folder` but hidden ones, in the order of their names."""
    return [listed(path) for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]


def listed(path: Path) -> ListedRun:
    """One folder, whatever it holds."""
    run_dir = RunDir(path)
    try:
        if run_dir.config_file.is_file():
            return _read(run_dir)
        if run_dir.is_in_use():
            return _unread(run_dir, "running", "about to begin")
        return _unread(run_dir, "broken", "no run: it has no config.yaml")
    except ConfigError as error:
        return _unread(run_dir, "broken", str(error).removeprefix(f"{path} ").replace(f"{path}/", ""))
    except OSError as error:
        return _unread(run_dir, "broken", f"it cannot be read ({error.strerror})")
    except _DAMAGED as error:
        return _unread(run_dir, "broken", f"its files do not fit together ({type(error).__name__}: {one_line(error)})")


def _unread(run_dir: RunDir, state: State, reason: str) -> ListedRun:
    return ListedRun(run_dir.path.name, run_dir.path, state, _changed(run_dir), reason=reason)


def _read(run_dir: RunDir) -> ListedRun:
    facts = facts_of(run_dir)
    require("recipe" in facts.config, "no run: its config.yaml is not one of hfssl")
    study = facts.evaluations.get(LABEL_STUDY)
    is_finished = facts.summary is not None or study is not None
    state: State = "finished" if is_finished else "interrupted"
    return ListedRun(
        name=run_dir.path.name,
        path=run_dir.path,
        state="running" if run_dir.is_in_use() else state,
        changed=_changed(run_dir),
        method=facts.recipe,
        data=facts.dataset,
        step=None if study is not None else facts.step,
        max_steps=None if study is not None else facts.max_steps,
        seconds=facts.seconds if study is None else _seconds_of_study(study),
        scores=_scores(facts),
        curves={title: thinned(_points([*facts.training, *facts.validation], key)) for title, key in _CURVES.items()},
        has_report=run_dir.report_file.is_file(),
    )


def _points(rows: Sequence[Row], key: str) -> list[Point]:
    return [(int(row["step"]), float(row[key])) for row in rows if row.get(key) is not None]


def _scores(facts: Facts) -> dict[str, ListedScore]:
    """Those of the export at the end, else the last of validation rows."""
    study = facts.evaluations.get(LABEL_STUDY)
    if study is not None:
        best = study["rows"][0]["curve"][-1]
        return {"score": ListedScore(f"accuracy, {best['labels']:,} labels", float(best["accuracy"]), True)}
    if facts.config["kind"] == "task":
        return _task_score(facts)
    _, after = (None, None) if facts.summary is None else before_and_after(facts.summary)
    if after is not None:
        return {name: ListedScore(name, float(after[name]), True) for name in ("knn", "linear") if name in after}
    last = _last(facts.validation, "validation/knn")
    return {} if last is None else {"knn": ListedScore("knn", last, False)}


def _task_score(facts: Facts) -> dict[str, ListedScore]:
    if facts.summary is not None:
        scores, is_final = facts.summary.get("scores", {}), True
    else:
        rows = ({key.removeprefix("validation/"): value for key, value in row.items()} for row in facts.validation)
        scores, is_final = {name: value for row in rows for name, value in row.items() if name != "loss"}, False
    name = next(iter(main_names(scores)), None)
    if name is None or scores[name] is None:
        return {}
    return {"score": ListedScore(in_words(name), float(scores[name]), is_final)}


def _last(rows: Sequence[Row], key: str) -> float | None:
    return next((float(row[key]) for row in reversed(rows) if row.get(key) is not None), None)


def _seconds_of_study(study: Row) -> float:
    return sum(float(run["seconds"]) for point in study["points"] for run in [*point["trials"], *point["cells"]])


def _changed(run_dir: RunDir) -> float:
    """When the newest of the files was written that a run writes while it trains and at its end."""
    evals = run_dir.path / "eval"
    files = [
        run_dir.config_file,
        run_dir.metrics_file,
        evals / "summary.json",
        evals / f"{LABEL_STUDY}.json",
        run_dir.path,
    ]
    times = [time for file in files if (time := _modified(file)) is not None]
    return max(times[:-1], default=times[-1] if times else 0.0)


def _modified(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:
        return None
