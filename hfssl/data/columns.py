"""The columns of a split: which one holds the samples, which one the labels, found by type unless they are named."""

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import datasets
import pyarrow.compute as pc
from datasets import Dataset

from hfssl.errors import require

_BLOCK = 8192
FindColumn = Callable[[datasets.Features], list[str]]


def class_columns(features: datasets.Features) -> list[str]:
    """Columns of classes."""
    return [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]


def is_text(feature: object) -> bool:
    """A column of strings, however long Arrow makes them."""
    return isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string")


def choose_column(rows: Dataset, find: FindColumn, column: str | None, flag: str) -> str:
    """The column named, else the only one that `find` finds.

    Raises:
        ConfigError: there is none, or several; says that `flag` chooses.
    """
    columns = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in rows.features.items())
    if column is not None:
        require(column in rows.features, f"--{flag} {column} is not a column; there are: {columns}")
        return column
    candidates = find(rows.features)
    require(bool(candidates), f"no column fits; choose one with --{flag}; there are: {columns}")
    require(len(candidates) == 1, f"several columns fit ({', '.join(candidates)}): choose one with --{flag}")
    return candidates[0]


def choose_label(
    rows: Dataset, label_column: str | None, split: str, find: FindColumn, *, is_needed: bool
) -> str | None:
    """The column of labels; other splits than the one trained on may have none."""
    if label_column is not None:
        require(
            label_column in rows.features or not is_needed,
            f"--label_column {label_column} is not a column of the split {split}; there are: {list(rows.features)}",
        )
        return label_column if label_column in rows.features else None
    candidates = find(rows.features)
    return candidates[0] if len(candidates) == 1 else None


def undecoded_files(
    rows: Dataset,
    column: str,
    undecoded: datasets.Image | datasets.Audio,
    folder: Path,
    *,
    paths_as: datasets.Value | None = None,
) -> Dataset:
    """Images and recordings stay bytes and paths; texts in their place are paths, relative to the table's folder.

    Args:
        undecoded: the feature of files that are not decoded; paths_as: the feature that their paths have to be first.
    """
    feature = rows.features[column]
    if is_text(feature):
        rows = rows.map(partial(_below, str(folder.resolve()), column))
        fingerprint = rows._fingerprint
        if paths_as is not None:
            rows = rows.cast_column(column, paths_as)
        rows = rows.cast_column(column, undecoded)
    elif isinstance(feature, type(undecoded)):
        fingerprint = rows._fingerprint
        rows = rows.cast_column(column, undecoded)
    else:
        return rows
    rows._fingerprint = f"{fingerprint}{_state_of_files(rows, column)}"
    return rows


def _state_of_files(rows: Dataset, column: str) -> str:
    """A short name of the files that rows name by their paths, as they are now: none where rows hold all bytes."""
    tables = rows.with_format("arrow")
    state = hashlib.sha256()
    has_files = False
    for start in range(0, len(rows), _BLOCK):
        stored = tables[start : start + _BLOCK][column]
        paths = pc.filter(pc.struct_field(stored, "path"), pc.is_null(pc.struct_field(stored, "bytes")))
        for path in filter(None, paths.to_pylist()):
            has_files = True
            with suppress(OSError):
                now = os.stat(path.rpartition("#t=")[0] or path)  # which names a part of a recording
                state.update(f"{path} {now.st_size} {now.st_mtime_ns}\n".encode())
    return f"-{state.hexdigest()[:16]}" if has_files else ""


def _below(folder: str, column: str, row: Mapping[str, str | None]) -> dict[str, str | None]:
    path = row[column]
    return {column: None if path is None else str(Path(folder) / path)}
