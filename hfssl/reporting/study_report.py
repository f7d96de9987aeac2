"""What the report of a label study shows: whether pretraining paid, at each number of labels."""

from hfssl.evaluation.table import Row, Table, TableCell

_MOST_TILES = 3


def study_tiles(study: Row) -> list[tuple[str, str, str]]:
    """(title, value, note) of the gain of pretraining, for the smallest numbers of labels."""
    return [
        (
            f"gain with {gain['labels']:,} labels",
            f"{gain['mean']:+.1f} points",
            f"95 % interval {gain['low']:+.1f} to {gain['high']:+.1f}",
        )
        for gain in study["gains"][:_MOST_TILES]
    ]


def study_table(study: Row) -> Table:
    """Test accuracy with its interval: a line per way of training, a column per number of labels."""
    rows = study["rows"]
    header = ["training", *(f"{point['labels']:,} labels" for point in rows[0]["curve"])]
    lines = [
        (
            str(row["features"]),
            [TableCell(f"{p['accuracy']:.3f}", f"{p['low']:.3f} to {p['high']:.3f}") for p in row["curve"]],
        )
        for row in rows
    ]
    return Table(header, lines)


def study_notes(study: Row) -> list[str]:
    """The gains in sentences, then what to know of the learning rates."""
    return [*(str(gain["sentence"]) for gain in study["gains"]), *map(str, study["notes"])]


def study_plan(study: Row) -> dict[str, str]:
    """How much was trained."""
    trials, cells = (sum(len(point[kind]) for point in study["points"]) for kind in ("trials", "cells"))
    return {
        "runs": f"{cells:,}, and {trials:,} trials for the learning rates",
        "seeds per point": str(study["seeds"]),
        "steps per run": f"{study['steps']:,}",
    }
