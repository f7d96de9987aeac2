"""The figures of eval/*.json for people: tables in Markdown, and sentences with 95 % intervals."""

from hfssl.evaluation.intervals import interval_of
from hfssl.evaluation.table import Row, Table
from hfssl.reporting.markdown import Trusted, table

_NAMED_CLASSES = 20


def pretext_lines(summary: Row) -> list[str]:
    """How well the task that was trained on is solved, in sentences; none where its answers are neither right nor wrong.
    A sample counts once in an interval, however often it was asked about."""
    if "pretext" not in summary:
        return []
    found = summary["pretext"]
    which = "test" if found["held_out"] else "training"
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


def is_evaluation(content: Row) -> bool:
    """Whether it is what `hfssl evaluate` writes; a study of labels has curves, and no classes."""
    rows = content.get("rows")
    return isinstance(rows, list) and bool(rows) and "curve" in rows[0] and "classes" in content


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
