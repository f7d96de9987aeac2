"""What a fine-tuned model got right, as cells and sentences: `scores` of eval/summary.json, whatever the task.

A number stands under its name in words; `x_interval` belongs to `x`; what is called `per_...` is a table with a line for each
class or type. The score of a trivial baseline is given where there is one.
"""

from typing import NamedTuple

from hfssl.evaluation.table import Table, TableCell
from hfssl.run_dir import JsonView

Row = JsonView
_INTERVAL = "_interval"
_HEADLINE = ("accuracy", "macro_f1", "f1", "exact_match", "pearson", "spearman", "wer", "cer")
_MOST_TILES = 3
_FLOORS = {"most_frequent_share": "accuracy", "of_mean": "mean_squared_error"}  # -> the score that it is the floor of
_WORDS = {
    "rows": "rows scored",
    "unreadable_rows": "rows that could not be read",
    "num_mistakes": "mistakes",
    "macro_f1": "macro F1",
    "f1": "F1",
    "conlleval_f1": "F1 by conlleval (a lone I- tag begins an entity)",
    "most_frequent_share": "majority-class baseline",
    "of_mean": "always the mean",
    "calibration_error": "calibration error (ECE)",
    "matthews_correlation": "Matthews correlation",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "wer": "word error rate",
    "cer": "character error rate",
}
_SHOWN_CLASSES = 10


class Score(NamedTuple):
    """One number of `scores`; floor: its baseline, in words."""

    name: str
    title: str
    cell: TableCell
    floor: str = ""


def in_words(name: str) -> str:
    return _WORDS.get(name, name.replace("_", " "))


def all_scores(scores: Row) -> list[Score]:
    """Every number of `scores`, undefined ones among them, in their order; a baseline follows the score that it belongs to."""
    return [
        _score(scores, name) for name, value in scores.items() if _is_number(value) and _FLOORS.get(name) not in scores
    ]


def main_names(scores: Row) -> list[str]:
    """Names of those that say most, the first of them most: the known ones, else all fractions."""
    known = [name for name in _HEADLINE if name in scores]
    return known or [name for name, value in scores.items() if isinstance(value, float) and name not in _FLOORS]


def main_scores(scores: Row) -> list[Score]:
    """Those that say most."""
    return [_score(scores, name) for name in main_names(scores)[:_MOST_TILES]]


def baselines(scores: Row) -> list[Score]:
    """What constant predictions reach."""
    return [_score(scores, name) for name in _FLOORS if name in scores]


def part_tables(scores: Row) -> list[Table]:
    """A table for each `per_...`: a list of dictionaries, or a dictionary of them by name."""
    found = [(name.removeprefix("per_"), value) for name, value in scores.items() if name.startswith("per_") and value]
    return [_part_table(kind, _lines_of(kind, value)) for kind, value in found if _lines_of(kind, value)]


def score_warnings(summary: Row) -> list[str]:
    """What speaks against a fine-tuned model, in sentences."""
    found = list(summary.get("warnings", []))
    scores = summary.get("scores")
    if scores is None:
        return [*found, "no scores: the data has no labelled test rows"]
    if unreadable := scores.get("unreadable_rows"):
        found.append(f"{unreadable} test rows could not be read and were not scored")
    found += _below_floor(scores)
    classes = [row for row in scores.get("per_class", []) if "support" in row]
    for what, names in (
        ("never found", [row["class"] for row in classes if row["support"] and row["recall"] == 0]),
        ("without a test row", [row["class"] for row in classes if not row["support"]]),
    ):
        if names:
            more = f" and {len(names) - _SHOWN_CLASSES} more" if len(names) > _SHOWN_CLASSES else ""
            found.append(f"classes {what}: {', '.join(map(str, names[:_SHOWN_CLASSES]))}{more}")
    return found


def _below_floor(scores: Row) -> list[str]:
    """Whether always predicting the majority class may be as right."""
    if "accuracy_interval" not in scores or "most_frequent_share" not in scores:
        return []
    low, share = scores["accuracy_interval"][0], scores["most_frequent_share"]
    if low > share:
        return []
    accuracy = scores["accuracy"]
    return [f"accuracy {accuracy:.3f} is not clearly above {share:.3f}, the majority-class baseline"]


def _score(scores: Row, name: str) -> Score:
    interval = scores.get(name + _INTERVAL)
    between = "" if interval is None else " to ".join(shown(value) for value in interval)
    floor = next((trivial for trivial, of in _FLOORS.items() if of == name and trivial in scores), None)
    words = "" if floor is None else f"{shown(scores[floor])}, {in_words(floor)}"
    return Score(name, in_words(name), TableCell(shown(scores[name]), between), words)


def _lines_of(kind: str, value: object) -> list[Row]:
    if isinstance(value, dict):
        value = [{kind: name} | row for name, row in value.items() if isinstance(row, dict)]
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _part_table(kind: str, lines: list[Row]) -> Table:
    first = kind if kind in lines[0] else next(iter(lines[0]))
    columns = [name for name in lines[0] if name != first]
    return Table(
        [in_words(first), *(in_words(name) for name in columns)],
        [(str(row[first]), [TableCell(shown(row.get(name))) for name in columns]) for row in lines],
    )


def shown(value: object) -> str:
    """A number as people read it; None is what has no value, like the precision of a class that is never said."""
    if value is None:
        return "undefined"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.4g}"


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
