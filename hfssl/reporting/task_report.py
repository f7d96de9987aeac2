"""What the report of a fine-tuning adds to what every report shows: tiles, scores with their baselines, parts, mistakes."""

from hfssl.evaluation.table import Table, TableCell
from hfssl.reporting.facts import Facts, Row
from hfssl.reporting.task_scores import all_scores, baselines, in_words, main_scores, part_tables, score_warnings, shown
from hfssl.run_dir import Json

_PROTOCOL = {
    "model": "the export, loaded with plain `from_pretrained`, in float32 and evaluation mode",
    "test rows": "each once, whole, without random changes; neither training nor the choice of weights used them",
    "kept weights": "those of the validation with the best score; among equals, of the lowest loss",
    "interval": "95 %, over test rows (Wilson); it does not hold the spread over seeds: this is one run",
}
_MISTAKES = ("text", "said", "true", "probability")
_MOST_MISTAKES = 20


def task_tiles(facts: Facts) -> list[tuple[str, str, str]]:
    """(title, value, note) of the main scores with their intervals, then of the baselines."""
    scores = {} if facts.summary is None else facts.summary.get("scores", {})
    tiles = [(score.title, score.cell.value, _between(score.cell)) for score in main_scores(scores)]
    return tiles + [(score.title, score.cell.value, "a constant prediction") for score in baselines(scores)]


def task_contents(facts: Facts) -> Json:
    """What the template of a fine-tuning asks for."""
    summary = facts.summary or {}
    scores = summary.get("scores")
    return {
        "scored": None if scores is None else score_table(scores),
        "parts": [] if scores is None else part_tables(scores),
        "mistakes": None if scores is None else _mistakes(scores),
        "rows_notes": summary.get("notes", []),
        "unscored": "the scores could not be made"
        if "scores" in facts.not_made
        else "the data has no labelled test rows",
        "kept": kept_weights(facts),
        "protocol": _PROTOCOL,
    }


def score_table(scores: Row) -> Table:
    """Every number with its interval and its baseline."""
    lines = [(score.title, [score.cell, TableCell(score.floor or "-")]) for score in all_scores(scores)]
    return Table(["score", "value", "baseline"], lines)


def task_warnings(facts: Facts) -> list[str]:
    return [] if facts.summary is None else score_warnings(facts.summary)


def task_data(summary: Row) -> dict[str, str]:
    """The rows other than those trained on."""
    tested = f"{summary['test_rows']:,} of the split {summary['test_split']}" if "test_rows" in summary else "none"
    return {"test rows": tested}


def kept_weights(facts: Facts) -> str | None:
    """Which step's weights are the export, in words; None where nothing chose one."""
    summary = facts.summary
    if summary is None or summary["best_step"] is None:
        return None
    chosen_by = in_words(summary.get("chosen_by", "score"))
    reached = "" if summary["best_score"] is None else f" ({chosen_by} {summary['best_score']:.3f})"
    return f"weights of step {summary['best_step']} of {summary['steps']}, the best on the validation rows{reached}"


def _mistakes(scores: Row) -> Table | None:
    """The worst mistakes where they are texts; for images there is a figure."""
    worst = [row for row in scores.get("mistakes", []) if row.get("text") is not None][:_MOST_MISTAKES]
    if not worst:
        return None
    columns = [name for name in _MISTAKES[1:] if name in worst[0]]
    lines = [(str(row["text"]), [TableCell(_named(scores, name, row[name])) for name in columns]) for row in worst]
    return Table(["text", *columns], lines)


def _named(scores: Row, name: str, value: object) -> str:
    is_class = name in ("said", "true") and isinstance(value, int) and "classes" in scores
    return str(scores["classes"][value]) if is_class else shown(value)


def _between(cell: TableCell) -> str:
    return f"95 % interval {cell.interval}" if cell.interval else ""
