"""The report of a run: one self-contained HTML file, made from the run folder only.

It is for whoever ran it: unlike the card, it names local paths.
"""

import base64
import json
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hfssl.catalog import settings_of
from hfssl.checkpoints.exports import describe_export
from hfssl.config.files import SECTION_NAMES
from hfssl.config.invocation import command
from hfssl.evaluation.table import NOT_MEASURED, Table, layout_of_evaluation
from hfssl.figures import curves as figures
from hfssl.reporting.facts import Facts, clock, facts_of, hardware
from hfssl.reporting.figure_kinds import FigureKind, figure_kind
from hfssl.reporting.kinds import kind_of
from hfssl.reporting.run_kind import RunKind, Tile
from hfssl.reporting.scores import class_names, is_evaluation
from hfssl.reporting.text_examples import BLANK, examples_of
from hfssl.run_dir import LABEL_STUDY, Json, JsonView, RunDir, write_text


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
    kind = kind_of(facts, describe_export(run_dir.export))
    if not kind.is_finished and facts.training:
        figures.loss_curve(run_dir, settings_of(facts.recipe).loss_unit)
        kind.draw_progress(run_dir)
        facts = facts_of(run_dir)
    kind = kind_of(facts, describe_export(run_dir.export))
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template(kind.report_template)
    write_text(run_dir.report_file, page.render(_contents(run_dir, kind)))
    return run_dir.report_file


def _contents(run_dir: RunDir, kind: RunKind) -> Json:
    facts = kind.facts
    shown = [_shown(path) for path in facts.figures]
    evaluations = {name: content for name, content in facts.evaluations.items() if name != LABEL_STUDY}
    learned = shown[0] if shown and shown[0].kind.is_learned else None
    others = shown if learned is None else shown[1:]
    own_plan = kind.own_plan()
    return {
        "recipe": facts.recipe,
        "dataset": facts.dataset,
        "folder": str(run_dir.path),
        "state": kind.state,
        "is_finished": kind.is_finished,
        "share": 1.0 if kind.is_finished else facts.step / (facts.max_steps or max(1, facts.step)),
        "model": _model(kind),
        "warnings": kind.warnings(),
        "tiles": kind.tiles() + (_tiles(facts) if own_plan is None else []),
        "learned": learned,
        "examples": examples_of(facts.summary),
        "blank": BLANK,
        "curves": [figure for figure in others if figure.kind.is_chart],
        "pictures": [figure for figure in others if not figure.kind.is_chart],
        "watched": _watched(kind),
        "evaluations": [_evaluation(name, content, run_dir) for name, content in evaluations.items()],
        "data": _data(kind),
        "study": None,
        "plan": _plan(facts) if own_plan is None else own_plan,
        "settings": {name: facts.config[name] for name in SECTION_NAMES},
        "environment": _environment(facts),
        "command": facts.environment.get("command", NOT_MEASURED),
        "report_command": command("report", "--run", str(run_dir.path)),
    } | kind.report_contents()


def _model(kind: RunKind) -> str:
    exported, config = kind.export, kind.facts.config
    parts = [] if exported is None else [exported.size]
    sizes = {"hidden_size": "width {}", "num_hidden_layers": "{} layers", "patch_size": "patches of {} px"}
    method = config["method"]
    parts += [words.format(method[name]) for name, words in sizes.items() if method.get(name) is not None]
    side = config["data"].get("image_size")
    return ", ".join(parts + ([] if side is None else [f"images of {side} px"]))


def _tiles(facts: Facts) -> list[Tile]:
    """What the run took."""
    loss = facts.last("loss")
    speed = f"{facts.samples_seen / facts.seconds:,.0f} samples/s" if facts.seconds else ""
    return [
        Tile("training loss", NOT_MEASURED if loss is None else f"{loss:.4f}", f"step {facts.step}"),
        Tile("wall time", clock(facts.seconds), speed),
    ]


def _shown(path: Path) -> Shown:
    source = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
    return Shown(figure_kind(path), source)


def _watched(kind: RunKind) -> list[tuple[str, str, str]]:
    """(what, at the first validation, at the last)."""
    lines = []
    for key, title in kind.validation_titles().items():
        rows = [row for row in kind.facts.validation if row.get(f"validation/{key}") is not None]
        ends = [f"{row[f'validation/{key}']:.3f} at step {row['step']}" for row in (rows[:1] + rows[-1:])]
        if rows:
            lines.append((title, ends[0], ends[1]))
    return lines


def _evaluation(name: str, content: JsonView, run_dir: RunDir) -> ReportEvaluation:
    example = command("evaluate", "--model", str(run_dir.path), "--dataset", "DATA")
    how = str(content.get("command", example))
    if not is_evaluation(content):
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


def _data(kind: RunKind) -> dict[str, str]:
    facts = kind.facts
    data = facts.config["data"]
    num_rows = NOT_MEASURED if facts.num_rows is None else f"{facts.num_rows:,}"
    lines = {"data set": facts.dataset, "split": str(data["split"]), "rows": num_rows}
    bad = facts.last("bad_rows")
    lines["rows skipped as unusable"] = NOT_MEASURED if bad is None else str(bad)
    return lines if facts.summary is None else lines | kind.data_lines(facts.summary)


def _plan(facts: Facts) -> dict[str, str]:
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
