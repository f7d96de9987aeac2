"""The report of a run: one HTML file with everything inside, made from nothing but the run folder.

It is for whoever ran it: unlike the card, it names local paths.
"""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hfssl.catalog import settings_of
from hfssl.checkpoints.exports import describe_export
from hfssl.config.files import SECTION_NAMES
from hfssl.config.invocation import command
from hfssl.evaluation.table import NOT_MEASURED, Table, layout_of_evaluation, layout_of_summary
from hfssl.figures import curves as figures
from hfssl.reporting.facts import (
    SCORES,
    Facts,
    before_and_after,
    clock,
    facts_of,
    hardware,
    remark,
    warnings,
)
from hfssl.reporting.figure_kinds import FigureKind, kind_of
from hfssl.reporting.scores import class_names, pretext_lines
from hfssl.reporting.study_report import study_notes, study_plan, study_table, study_tiles
from hfssl.reporting.task_report import task_contents, task_data, task_tiles, task_warnings
from hfssl.reporting.task_scores import in_words
from hfssl.reporting.text_examples import BLANK, examples_of
from hfssl.run_dir import STUDY, RunDir, write_text


class Tile(NamedTuple):
    """One figure of the headline."""

    title: str
    value: str
    note: str = ""


class Shown(NamedTuple):
    """A figure as the page holds it."""

    kind: FigureKind
    source: str


class ReportEvaluation(NamedTuple):
    """One further eval/*.json: its table, or its content where it has another shape."""

    name: str
    table: Table | None
    notes: list[str]
    content: str
    command: str


def write_report(run_dir: RunDir) -> Path:
    """Write report.html of a run, finished or not; returns its path. Curves of an unfinished run are drawn first."""
    facts = facts_of(run_dir)
    if not facts.is_finished and facts.training:
        figures.loss_curve(run_dir, settings_of(facts.recipe).loss_unit)
        (figures.score_curve if facts.is_fine_tuning else figures.watch_curve)(run_dir)
        facts = facts_of(run_dir)
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("task_report_template.html" if facts.is_fine_tuning else "report_template.html")
    write_text(run_dir.report_file, page.render(_contents(run_dir, facts)))
    return run_dir.report_file


def _contents(run_dir: RunDir, facts: Facts) -> dict[str, Any]:
    shown = [_shown(path) for path in facts.figures]
    learned = shown[0] if shown and shown[0].kind.is_learned else None
    others = shown if learned is None else shown[1:]
    return {
        "recipe": facts.recipe,
        "dataset": facts.dataset,
        "folder": str(run_dir.path),
        "state": facts.state,
        "is_finished": facts.is_finished,
        "share": 1.0 if facts.is_finished else facts.step / (facts.max_steps or max(1, facts.step)),
        "model": _model(run_dir, facts),
        "warnings": warnings(facts) + (task_warnings(facts) if facts.is_fine_tuning else []),
        "tiles": _tiles(facts),
        "learned": learned,
        "examples": examples_of(facts.summary),
        "blank": BLANK,
        "curves": [figure for figure in others if figure.kind.is_chart],
        "pictures": [figure for figure in others if not figure.kind.is_chart],
        "watched": _watched(facts),
        "evaluations": [
            _evaluation(name, content, run_dir) for name, content in facts.evaluations.items() if name != STUDY
        ],
        "study": None if facts.study is None else (study_table(facts.study), study_notes(facts.study)),
        "data": _data(facts),
        "plan": _plan(facts),
        "settings": {name: facts.config[name] for name in SECTION_NAMES},
        "environment": _environment(facts),
        "command": facts.environment.get("command", NOT_MEASURED),
        "report_command": command("report", "--run", str(run_dir.path)),
    } | (task_contents(facts) if facts.is_fine_tuning else _closing(facts.summary))


def _closing(summary: Mapping[str, Any] | None) -> dict[str, Any]:
    """The closing table of encoders, and how to read it."""
    if summary is None:
        return {"table": None, "pretext": [], "remark": None, "protocol": {}}
    return {
        "table": layout_of_summary(summary),
        "pretext": pretext_lines(summary),
        "remark": remark(summary),
        "protocol": summary["protocol"],
    }


def _model(run_dir: RunDir, facts: Facts) -> str:
    exported, method = describe_export(run_dir.export), facts.config["method"]
    parts = [] if exported is None else [exported.size]
    config = {"hidden_size": "width {}", "num_hidden_layers": "{} layers", "patch_size": "patches of {} px"}
    parts += [words.format(method[name]) for name, words in config.items() if method.get(name) is not None]
    side = facts.config["data"].get("image_size")
    return ", ".join(parts + ([] if side is None else [f"images of {side} px"]))


def _tiles(facts: Facts) -> list[Tile]:
    """The gain over the encoder as it was before, or what a fine-tuned model gets right, then what it took."""
    if facts.study is not None:
        return [Tile(*tile) for tile in study_tiles(facts.study)]
    tiles = [Tile(*tile) for tile in task_tiles(facts)] if facts.is_fine_tuning else []
    before, after = (None, None) if facts.summary is None else before_and_after(facts.summary)
    if before is not None and after is not None:
        for name in SCORES:
            if name in after and name in before:
                title = f"{after['num_labels']} labels" if name == "few_labels" else SCORES[name]
                gain = 100 * (after[name] - before[name])
                tiles.append(Tile(title, f"{after[name]:.3f}", f"{gain:+.1f} points over {before['features']}"))
    loss = facts.last("loss")
    tiles.append(Tile("training loss", NOT_MEASURED if loss is None else f"{loss:.4f}", f"step {facts.step}"))
    speed = f"{facts.samples_seen / facts.seconds:,.0f} samples/s" if facts.seconds else ""
    tiles.append(Tile("wall time", clock(facts.seconds), speed))
    return tiles


def _shown(path: Path) -> Shown:
    source = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
    return Shown(kind_of(path), source)


def _watched(facts: Facts) -> list[tuple[str, str, str]]:
    """(what, at the first validation, at the last)."""
    titles = {"loss": "loss", "knn": "kNN", "std": "feature std", "rank_me": "RankMe"}
    if facts.is_fine_tuning:
        logged = [
            key.removeprefix("validation/") for row in facts.validation for key in row if key.startswith("validation/")
        ]
        titles = {"loss": "loss"} | {name: in_words(name) for name in logged if name != "loss"}
    lines = []
    for key, title in titles.items():
        rows = [row for row in facts.validation if row.get(f"validation/{key}") is not None]
        ends = [f"{row[f'validation/{key}']:.3f} at step {row['step']}" for row in (rows[:1] + rows[-1:])]
        if rows:
            lines.append((title, ends[0], ends[1]))
    return lines


def _evaluation(name: str, content: Mapping[str, Any], run_dir: RunDir) -> ReportEvaluation:
    rows = content.get("rows", [])
    is_table = bool(rows) and "curve" in rows[0]
    example = command("evaluate", "--model", str(run_dir.path), "--dataset", "DATA")
    how = str(content.get("command", example))
    if not is_table:
        return ReportEvaluation(name, None, [], json.dumps(content, indent=1), how)
    doubles = content["near_duplicates_in_test"]
    notes = [
        f"{content['train_rows']} training rows, {content['test_rows']} test rows of {content['data']}; {content['split']}",
        f"classes: {class_names(content)}",
        f"near-duplicates of training rows among the test rows: {doubles['by_hash']} by {doubles['hash_of']}, "
        f"{doubles['by_features']} by features",
        *content["notes"],
    ]
    return ReportEvaluation(name, layout_of_evaluation(content), notes, "", how)


def _data(facts: Facts) -> dict[str, str]:
    data, summary = facts.config["data"], facts.summary
    num_rows = NOT_MEASURED if facts.num_rows is None else f"{facts.num_rows:,}"
    lines = {"data set": facts.dataset, "split": str(data["split"]), "rows": num_rows}
    bad = facts.last("bad_rows")
    lines["rows skipped as unusable"] = NOT_MEASURED if bad is None else str(bad)
    if summary is not None and facts.is_fine_tuning:
        lines |= task_data(summary)
    elif summary is not None:
        test = f"{summary['test_rows']:,} of the split {summary['test_split']}" if summary["test_rows"] else "none"
        lines |= {"training rows in the table": f"{summary['train_rows']:,}", "test rows in the table": test}
    return lines


def _plan(facts: Facts) -> dict[str, str]:
    if facts.study is not None:
        return study_plan(facts.study)
    planned = NOT_MEASURED if facts.max_steps is None else f"{facts.max_steps:,}"
    epoch, rate, skipped = (facts.last(key) for key in ("epoch", "learning_rate", "skipped_steps"))
    lines = {
        "steps": f"{facts.step:,} of {planned}",
        "samples": f"{facts.samples_seen:,}, {facts.config['loop']['global_batch_size']} per step",
        "epochs": NOT_MEASURED if epoch is None else f"{epoch:.1f}",
        "steps skipped as not finite": NOT_MEASURED if skipped is None else str(skipped),
        "last learning rate": NOT_MEASURED if rate is None else f"{rate:.2e}",
        "wall time of training": clock(facts.seconds),
        "waiting for data": NOT_MEASURED if facts.waiting is None else f"{facts.waiting:.1%}",
    }
    if facts.seconds and facts.step and facts.summary is None and facts.max_steps:
        lines["left at this speed"] = clock(facts.seconds / facts.step * (facts.max_steps - facts.step))
    memory = facts.last("time/peak_memory_bytes")
    return lines | {
        "peak device memory": NOT_MEASURED if memory is None else f"{memory / 1e9:.2f} GB",
        "energy": facts.energy,
    }


def _environment(facts: Facts) -> dict[str, str]:
    found = facts.environment
    if not found:
        return {}
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return {
        "hardware": hardware(found),
        "cores": str(found["cpu_cores"]),
        "precision": "float32" if found["mixed_precision"] == "no" else str(found["mixed_precision"]),
        "versions": versions,
    }
