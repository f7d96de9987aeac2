"""Rows without a label, or with one that training does not have: refused by the name of their split, with their number."""

from collections import Counter

from hfssl.config import require
from hfssl.data.source import Source

_NAMED = 5


def num_unnamed(source: Source) -> int:
    """Rows whose class is missing, -1, or an empty text."""
    values = [] if source.label_column is None else source.rows[source.label_column][:]
    return source.num_withheld() + sum(isinstance(value, str) and not value.strip() for value in values)


def refuse_missing(source: Source, count: int, what: str = "labels", are: str = "missing, or withheld as -1") -> None:
    """Raise ConfigError where `count` rows have none; `what` they are called, and what those `are` that there are not."""
    require(count == 0, f"{count} of {len(source)} {what} of the split {source.split} are {are}: leave these rows out")


def refuse_unseen(source: Source, rows_of: Counter[str], what: str = "labels") -> None:
    """Raise ConfigError where there are labels that the training rows do not have, each with the number of its rows."""
    named = [f"{name} ({count} rows)" for name, count in sorted(rows_of.items())]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    require(
        not named,
        f"the split {source.split} has {what} that the training rows do not have: {', '.join(named[:_NAMED])}{more}",
    )
