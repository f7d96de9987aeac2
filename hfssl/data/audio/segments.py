"""Parts of recordings, as columns `offset` and `duration` name them in seconds, and as a path names one part.

`talk.wav#t=3.5,7.25` is the part from 3.5 s to 7.25 s (Media Fragments URI 1.0, section 4.2.1): so that a part is one file
for all that follows, and only its samples are read.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from datasets import Dataset

from hfssl.data.columns import is_text
from hfssl.errors import ConfigError

MANIFEST_COLUMN = "audio_filepath"  # of NeMo's manifests, where a duration without an offset begins at 0
_OFFSET, _DURATION = "offset", "duration"
_FRAGMENT = re.compile(r"#t=(\d+(?:\.\d+)?)(?:,(\d+(?:\.\d+)?))?$")


class Segment(NamedTuple):
    """Seconds from `start` to `end`, None for the end of the file."""

    path: str
    start: float = 0.0
    end: float | None = None


def segment_of(path: str) -> Segment:
    """The file and the part of it that a path names; the whole file where it names none."""
    found = _FRAGMENT.search(path)
    if found is None:
        return Segment(path)
    return Segment(path[: found.start()], float(found[1]), None if found[2] is None else float(found[2]))


def with_segments(rows: Dataset, column: str, name: str) -> Dataset:
    """`rows` whose paths name the part that the columns `offset` and `duration` say, where there are such columns.

    Raises:
        ConfigError: they hold no seconds, or the recordings are no paths.
    """
    has_parts = _OFFSET in rows.features or (column == MANIFEST_COLUMN and _DURATION in rows.features)
    if not has_parts:
        return rows
    if not is_text(rows.features[column]):
        raise ConfigError(
            f"the column {_OFFSET} of {name} cuts files into parts, but {column} holds no paths: leave it out"
        )
    return rows.map(partial(_with_fragment, column, name), features=rows.features)


def _with_fragment(column: str, name: str, row: Mapping[str, object]) -> dict[str, object]:
    path, offset, duration = row[column], row.get(_OFFSET), row.get(_DURATION)
    if path is None or (offset is None and duration is None):
        return {column: path}
    try:
        start = 0.0 if offset is None else float(str(offset))
        end = None if duration is None else start + float(str(duration))
    except ValueError as error:
        raise ConfigError(
            f"{_OFFSET} {offset!r} or {_DURATION} {duration!r} of {name} is no number of seconds"
        ) from error
    if start < 0 or (end is not None and end <= start):
        raise ConfigError(f"{_OFFSET} {offset} and {_DURATION} {duration} of {name} are no part of a recording: {path}")
    return {column: f"{path}#t={start:.6f}" + ("" if end is None else f",{end:.6f}")}
