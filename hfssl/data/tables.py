"""Tables as rows: CSV, TSV, JSONL, JSON, Parquet and Arrow files, one or a folder of them.

Cells of CSV are read as they are written: only an empty one is missing, `null`, `NA` and `None` are words. A column is
numbers where every cell is the number's usual form; `007` is none.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import pandas
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from datasets import Dataset, DatasetDict, concatenate_datasets, load_dataset
from datasets.exceptions import DatasetsError

from hfssl.data.folder_splits import as_data_files, files_of_splits
from hfssl.data.json_objects import holds_rows, read_rows
from hfssl.data.location_check import TABLE_SUFFIXES
from hfssl.data.reading import Opened
from hfssl.errors import ConfigError, one_line, require

_BUILDERS = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".arrow": "arrow",
}
_NUMBERS = {
    "int64": r"^-?(0|[1-9][0-9]{0,17})$",
    "float64": r"^[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$",
}
_FIRST_ROWS = 1000


def open_tables(path: Path) -> Opened:
    """The rows of each split of a table, or of the tables of a folder.

    Raises:
        ConfigError: no table there, tables of several kinds or columns, or one that cannot be read: says which and where.
    """
    found = files_of_splits(path, TABLE_SUFFIXES, "table", names_say=True)
    files = [file for files in found.splits.values() for file in files]
    kinds = {_BUILDERS[file.suffix.lower()]: file for file in files}
    names = " and ".join(file.name for file in kinds.values())
    require(
        len(kinds) == 1, f"--dataset {path} holds tables of several kinds ({names}): name one, or a folder of one kind"
    )
    (kind,) = kinds
    splits = {split: read_tables(of_split) for split, of_split in found.splits.items()}
    return Opened(DatasetDict(_alike(splits) if kind == "csv" else splits), found.reading)


def read_tables(files: Sequence[Path]) -> Dataset:
    """The rows of tables of one kind, one after the other. Raises ConfigError."""
    kind = _BUILDERS[files[0].suffix.lower()]
    if kind == "json" and any(holds_rows(file) for file in files):
        return _joined([read_rows(file) if holds_rows(file) else _read([file], kind) for file in files], files)
    try:
        rows = _read(files, kind)
    except ConfigError:
        if kind == "csv" or len(files) == 1:
            raise
        return _joined([_read([file], kind) for file in files], files)  # their columns differ, or one is damaged
    return with_numbers(rows) if kind == "csv" else rows


def _read(files: Sequence[Path], kind: str) -> Dataset:
    try:
        settings = _SETTINGS[kind](files) if kind in _SETTINGS else {}
        rows: Dataset = load_dataset(kind, data_files={"train": as_data_files([*files])}, split="train", **settings)
    except ConfigError:
        raise
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise ConfigError(_what_is_wrong(files, kind, error)) from error
    return rows


def _joined(parts: Sequence[Dataset], files: Sequence[Path]) -> Dataset:
    """Rows with the columns of all files, missing values where a file has not all of them."""
    for file, part in zip(files[1:], parts[1:], strict=True):
        try:
            concatenate_datasets([parts[0].take(1), part.take(1)])  # empty ones would not be compared
        except ValueError as error:
            raise ConfigError(
                f"the columns of {files[0]} and {file} are of different types: {one_line(error)}"
            ) from error
    return concatenate_datasets([*parts])


def with_numbers(rows: Dataset) -> Dataset:
    """Columns of texts that all are numbers, as these."""
    for name, feature in rows.features.items():
        if feature == datasets.Value("string") and (dtype := _number_type(rows.data.column(name))) is not None:
            fingerprint = rows._fingerprint
            rows = rows.cast_column(name, datasets.Value(dtype))
            rows._fingerprint = fingerprint
    return rows


def _number_type(column: pa.ChunkedArray) -> str | None:
    if column.null_count == len(column):
        return None
    for dtype, pattern in _NUMBERS.items():
        if all(
            pc.all(pc.match_substring_regex(part, pattern)).as_py() is not False
            for part in (column[:_FIRST_ROWS], column[_FIRST_ROWS:])
        ):
            return dtype
    return None


def _alike(splits: dict[str, Dataset]) -> dict[str, Dataset]:
    """A column is numbers in all splits or in none: whole numbers in one and others elsewhere are floats."""
    for name in next(iter(splits.values())).features:
        types = {rows.features[name].dtype for rows in splits.values() if name in rows.features}
        if len(types) > 1:
            common = datasets.Value("float64" if "string" not in types else "string")
            splits = {
                split: rows.cast_column(name, common) if name in rows.features else rows
                for split, rows in splits.items()
            }
    return splits


def _csv_settings(files: Sequence[Path]) -> dict[str, object]:
    separator = "\t" if files[0].suffix.lower() == ".tsv" else ","
    headers = {file: _header(file, separator) for file in files}
    first, names = next(iter(headers.items()))
    for file, other in headers.items():
        missing = sorted(set(names) ^ set(other))
        require(
            not missing,
            f"{first} and {file} differ in their columns ({', '.join(missing)}): name files of equal columns",
        )
    features = datasets.Features(dict.fromkeys(names, datasets.Value("string")))
    return {"sep": separator, "keep_default_na": False, "na_values": [""], "features": features}


def _parquet_settings(files: Sequence[Path]) -> dict[str, object]:
    """Views of texts and bytes, as polars writes them, are read as these."""
    schema = pyarrow.parquet.read_schema(files[0])
    plain = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    if not any(field.type in plain for field in schema):
        return {}
    fields = [field.with_type(plain.get(field.type, field.type)) for field in schema]
    return {"features": datasets.Features.from_arrow_schema(pa.schema(fields, schema.metadata))}


_SETTINGS: dict[str, Callable[[Sequence[Path]], dict[str, object]]] = {
    "csv": _csv_settings,
    "parquet": _parquet_settings,
}


def _header(file: Path, separator: str) -> list[str]:
    try:
        return [str(name) for name in pandas.read_csv(file, sep=separator, nrows=0).columns]
    except UnicodeDecodeError as error:
        raise ConfigError(_not_utf8(file)) from error
    except (ValueError, OSError) as error:
        raise ConfigError(f"{file} is not a table: {one_line(error)}") from error


def _what_is_wrong(files: Sequence[Path], kind: str, error: BaseException) -> str:
    """A sentence that names the file, and the line where a text file has one."""
    for file in files:
        if kind == "json" and (line := _bad_line(file)) is not None:
            return f"{file}, line {line[0]}, is not JSON: {line[1]}"
        if kind == "csv" and not _is_utf8(file):
            return _not_utf8(file)
    cause = error.__cause__ or error
    where = files[0] if len(files) == 1 else f"{files[0].parent} ({len(files)} tables)"
    return f"--dataset {where} cannot be opened: {one_line(cause)}"


def _bad_line(file: Path) -> tuple[int, str] | None:
    with file.open("rb") as lines:
        first = lines.read(64).lstrip()[:1]
        if first == b"[":  # one JSON list, of which lines say nothing
            return None
        lines.seek(0)
        for number, line in enumerate(lines, 1):
            try:
                if line.strip():
                    json.loads(line)
            except (ValueError, RecursionError) as error:
                return number, getattr(error, "msg", one_line(error))
    return None


def _is_utf8(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8") as opened:
            while opened.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return False
    return True


def _not_utf8(file: Path) -> str:
    return f"{file} is not UTF-8: convert it, if it is Latin-1 with: iconv -f latin1 -t utf-8 {file.name}"
