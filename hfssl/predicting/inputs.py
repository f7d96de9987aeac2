"""Rows to predict: the files of a folder, the lines of a text file, a column of a table, all read as they are needed."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow
import pyarrow.parquet
import pyarrow.types

from hfssl.config import require
from hfssl.data.audio_config import AUDIO_SUFFIXES
from hfssl.data.image_config import IMAGE_SUFFIXES
from hfssl.data.location_check import files_below
from hfssl.data.text_config import TEXT_SUFFIXES
from hfssl.fields import ConfigError, one_line

Kind = Literal["images", "texts", "recordings"]
SUFFIXES: dict[Kind, frozenset[str]] = {"images": IMAGE_SUFFIXES, "texts": TEXT_SUFFIXES, "recordings": AUDIO_SUFFIXES}
_LONGEST_FIELD = 1 << 30
_ROWS_AT_ONCE = 64
_AS_STORED: dict[str, Any] = {
    "encoding": "utf-8-sig",
    "errors": "surrogateescape",
}  # what is not UTF-8 is one row's error


class Row(NamedTuple):
    """name: what the output calls it; content: a text, the {"bytes", "path"} of a file, or whatever stands in their place;
    error: why there is no content."""

    name: str | int
    content: Any
    error: str | None = None


@dataclass(frozen=True)
class Inputs:
    """Rows in their order, each time that they are asked for; total: how many, None where only reading them all would tell."""

    rows: Iterable[Row]
    total: int | None


@dataclass(frozen=True)
class Files:
    """Files under a folder, called by their names below it."""

    folder: Path
    files: list[Path]
    kind: Kind

    def __iter__(self) -> Iterator[Row]:
        for file in self.files:
            name = printable(file.relative_to(self.folder).as_posix())
            if self.kind != "texts":
                yield Row(name, {"bytes": None, "path": str(file)})
                continue
            try:
                yield Row(name, file.read_text(**_AS_STORED))
            except OSError as error:
                yield Row(name, None, f"can not be read: {error.strerror}")


@dataclass(frozen=True)
class Lines:
    """Lines of a text file, called by their numbers from 0."""

    path: Path

    def __iter__(self) -> Iterator[Row]:
        with self.path.open(**_AS_STORED) as file:
            for number, line in enumerate(file):
                yield Row(number, line.rstrip("\n"))


@dataclass(frozen=True)
class Table:
    """One column of a table: texts, called by their row numbers; paths relative to the table, or the bytes of files."""

    path: Path
    column: str
    kind: Kind

    def __iter__(self) -> Iterator[Row]:
        number = 0
        try:
            for row in _VALUES[self.path.suffix.lower()](self.path, self.column):
                is_whole = self.kind == "texts" or row.error is not None
                yield row._replace(name=number) if is_whole else self._of_file(number, row.content)
                number += 1
        except (OSError, pyarrow.ArrowException, csv.Error) as error:
            yield Row(number, None, f"the table can not be read from here on: {one_line(error)}")

    def _of_file(self, number: int, value: Any) -> Row:
        if isinstance(value, str) and value:
            return Row(printable(value), {"bytes": None, "path": str(self.path.parent / Path(value).expanduser())})
        if isinstance(value, dict) and value.get("bytes") is not None:
            return Row(printable(value.get("path") or str(number)), {"bytes": value["bytes"], "path": None})
        return Row(number, None, "the row holds no path")


def open_inputs(path: Path, column: str | None, kind: Kind) -> Inputs:
    """The rows that `path` stands for.

    Raises:
        ConfigError: nothing of this kind is there, or it is not clear which column is meant.
    """
    suffixes = SUFFIXES[kind]
    shown = " ".join(sorted(suffixes))
    if path.is_file() and path.suffix.lower() in _VALUES:
        return _open_table(path, column, kind)
    require(column is None, f"--column has no effect: --input {path} is no table; leave it out")
    if path.is_dir():
        files = sorted(file for file in files_below(path) if file.suffix.lower() in suffixes)
        require(bool(files), f"--input {path} holds no {kind} ({shown})")
        return Inputs(Files(path, files, kind), len(files))
    is_fit = path.suffix.lower() in suffixes
    require(
        is_fit, f"--input {path}: the model reads {kind} ({shown}), a folder of them, or tables ({' '.join(_VALUES)})"
    )
    return Inputs(Lines(path), None) if kind == "texts" else Inputs(Files(path.parent, [path], kind), 1)


def printable(text: str) -> str:
    """`text` as UTF-8 can hold it: file names may be any bytes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _open_table(path: Path, column: str | None, kind: Kind) -> Inputs:
    total = None
    try:
        if path.suffix.lower() == ".parquet":
            opened = pyarrow.parquet.ParquetFile(path)
            names, total = opened.schema_arrow.names, opened.metadata.num_rows
            fitting = [field.name for field in opened.schema_arrow if _can_hold_samples(field.type)]
        elif path.suffix.lower() == ".csv":
            names = fitting = _csv_names(path)
        else:
            first: Any = next((row.content for row in _jsonl_objects(path) if row.error is None), {})
            names, fitting = list(first), [name for name, value in first.items() if isinstance(value, str)]
    except (OSError, pyarrow.ArrowException, csv.Error) as error:
        raise ConfigError(f"--input {path} can not be read: {one_line(error)}") from error
    there = ", ".join(names)
    require(bool(names), f"--input {path} is empty")
    require(column is None or column in names, f"--column {column} is not in {path}; there are: {there}")
    is_clear = column is not None or len(fitting) == 1
    require(
        is_clear, f"--input {path} has the columns {there}: name that of the {kind}, or of their paths, with --column"
    )
    return Inputs(Table(path, column or fitting[0], kind), total)


def _can_hold_samples(kind: Any) -> bool:
    is_text = pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)
    return is_text or (pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def _csv_names(path: Path) -> list[str]:
    with path.open(newline="", **_AS_STORED) as file:
        return next(csv.reader(file), [])


def _csv_values(path: Path, column: str) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_FIELD)
    with path.open(newline="", **_AS_STORED) as file:
        lines = csv.reader(file)
        names = next(lines)
        index = names.index(column)
        for cells in lines:
            if cells or len(names) == 1:  # an empty line is nothing among several columns, and an empty cell in one
                yield Row(0, cells[index] if index < len(cells) else None)


def _jsonl_objects(path: Path) -> Iterator[Row]:
    with path.open(**_AS_STORED) as file:
        for line in file:
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            yield Row(0, value) if isinstance(value, dict) else Row(0, None, "the line is no JSON object")


def _jsonl_values(path: Path, column: str) -> Iterator[Row]:
    for row in _jsonl_objects(path):
        yield row if row.error else Row(0, row.content.get(column))


def _parquet_values(path: Path, column: str) -> Iterator[Row]:
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(_ROWS_AT_ONCE, columns=[column]):
        yield from (Row(0, value) for value in batch.column(0).to_pylist())


_VALUES: dict[str, Callable[[Path, str], Iterator[Row]]] = {
    ".csv": _csv_values,
    ".jsonl": _jsonl_values,
    ".parquet": _parquet_values,
}
