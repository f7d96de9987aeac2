"""Columns of CSV, TSV, JSONL and Parquet files, read row by row."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.parquet
import pyarrow.types

from hfssl.errors import ConfigError, one_line
from hfssl.run_dir import Json

_LONGEST_FIELD = 1 << 30
_ROWS_AT_ONCE = 64
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
AS_STORED: Json = {
    "encoding": "utf-8-sig",
    "errors": "surrogateescape",
}  # what is not UTF-8 is one row's error


class Cells(NamedTuple):
    """The values of a row in the columns that were asked for, None where it has none; error: why they cannot be read."""

    values: list[Any]
    error: str | None = None


class Columns(NamedTuple):
    """names: all of them; fitting: those that can hold samples, as far as types tell; total: rows, None where unknown."""

    names: list[str]
    fitting: list[str]
    total: int | None


def is_table(path: Path) -> bool:
    """Whether it is a table by its suffix."""
    return path.suffix.lower() in _CELLS


def columns_of(path: Path, *, lists: bool) -> Columns:
    """Its columns; with `lists`, one of lists of texts can hold samples too.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        if path.suffix.lower() == ".parquet":
            opened = pyarrow.parquet.ParquetFile(path)
            fitting = [field.name for field in opened.schema_arrow if _can_hold_samples(field.type, lists)]
            return Columns(opened.schema_arrow.names, fitting, opened.metadata.num_rows)
        if path.suffix.lower() in _SEPARATORS:
            names = _csv_names(path)
            return Columns(names, names, None)
        first = next((row for row in _jsonl_objects(path) if row is not None), {})
    except (OSError, pyarrow.ArrowException, csv.Error) as error:
        raise ConfigError(f"--input {path} cannot be read: {one_line(error)}") from error
    fitting = [name for name, value in first.items() if isinstance(value, str) or (lists and _is_list_of_texts(value))]
    return Columns(list(first), fitting, None)


def cells(path: Path, columns: Sequence[str]) -> Iterator[Cells]:
    """The rows of these columns, in order; one that tells why there are no more ends a damaged table."""
    try:
        yield from _CELLS[path.suffix.lower()](path, columns)
    except (OSError, pyarrow.ArrowException, csv.Error) as error:
        yield Cells([], f"the table cannot be read from here on: {one_line(error)}")


def _can_hold_samples(kind: Any, lists: bool) -> bool:
    if pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
        return lists and _is_text(kind.value_type)
    return _is_text(kind) or (pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def _is_text(kind: object) -> bool:
    return bool(
        pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind) or pyarrow.types.is_string_view(kind)
    )


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _csv_names(path: Path) -> list[str]:
    with path.open(newline="", **AS_STORED) as file:
        return next(csv.reader(file, delimiter=_SEPARATORS[path.suffix.lower()]), [])


def _csv_cells(path: Path, columns: Sequence[str]) -> Iterator[Cells]:
    csv.field_size_limit(_LONGEST_FIELD)
    with path.open(newline="", **AS_STORED) as file:
        lines = csv.reader(file, delimiter=_SEPARATORS[path.suffix.lower()])
        names = next(lines)
        indices = [names.index(column) for column in columns]
        for line in lines:
            if line or len(names) == 1:  # an empty line is nothing among several columns, and an empty cell in one
                yield Cells([line[index] if index < len(line) else None for index in indices])


def _jsonl_objects(path: Path) -> Iterator[Json | None]:
    """None for a line that holds no object."""
    with path.open(**AS_STORED) as file:
        for line in file:
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            yield value if isinstance(value, dict) else None


def _jsonl_cells(path: Path, columns: Sequence[str]) -> Iterator[Cells]:
    for row in _jsonl_objects(path):
        yield Cells([], "the line is no JSON object") if row is None else Cells([row.get(name) for name in columns])


def _parquet_cells(path: Path, columns: Sequence[str]) -> Iterator[Cells]:
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(_ROWS_AT_ONCE, columns=list(columns)):
        for row in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
            yield Cells(list(row))


_CELLS: dict[str, Callable[[Path, Sequence[str]], Iterator[Cells]]] = {
    ".csv": _csv_cells,
    ".tsv": _csv_cells,
    ".jsonl": _jsonl_cells,
    ".parquet": _parquet_cells,
}
TABLE_SUFFIXES = tuple(_CELLS)
