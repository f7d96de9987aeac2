"""What was found where a data set lies, what of it is used, and what is left out for which reason."""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets import DatasetDict

from hfssl.data.unread_files import HOW_TO_CONVERT, by_suffix, not_read

MOST_LEFT_OUT = 0.01  # of the files; beyond it a warning stays in report and card
_NAMED = 3


class Reading(NamedTuple):
    """Lines for people at the start of a command; warnings stay in report and card."""

    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def and_also(self, *lines: str) -> "Reading":
        """With further lines."""
        return Reading((*self.lines, *lines), self.warnings)


class Opened(NamedTuple):
    """The splits of a data set, and what was found on the way to them."""

    splits: DatasetDict
    reading: Reading = Reading()


def reading_of(used: Sequence[Path], others: Sequence[Path], left_out: Mapping[str, Sequence[Path]]) -> Reading:
    """Files that are used, files of other kinds, and files of the right kind that are left out, reason -> files."""
    kinds = by_suffix(used)
    named = ", ".join(f"{count} {suffix}" if len(kinds) > 1 else suffix for suffix, count in kinds)
    parts = [f"{len(used)} used ({named})"]
    parts += [f"{len(files)} left out: {reason} ({_named(files)})" for reason, files in left_out.items() if files]
    lost = {reason: len(files) for reason, files in left_out.items() if files}
    lost |= {f"{suffix} is not read": count for suffix, count in by_suffix(others) if suffix in HOW_TO_CONVERT}
    share = sum(lost.values()) / max(1, sum(lost.values()) + len(used))
    why = "; ".join(f"{count} files: {reason}" for reason, count in lost.items())
    warnings = (f"{share:.1%} of the files are left out ({why})",) if share > MOST_LEFT_OUT else ()
    return Reading((f"files       {'; '.join([*parts, *not_read(others)])}",), warnings)


@functools.cache
def say(reading: Reading) -> None:
    """Print what was found, once for each data set of a process."""
    for line in reading.lines:
        print(line)
    for warning in reading.warnings:
        print(f"warning     {warning}", flush=True)


def is_named_in_utf8(file: Path) -> bool:
    """Whether a table can hold the file's name."""
    try:
        os.fsencode(file).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _named(files: Sequence[Path]) -> str:
    names = ", ".join(ascii(file.name)[1:-1] for file in files[:_NAMED])
    return names + (", ..." if len(files) > _NAMED else "")
