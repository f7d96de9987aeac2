"""Rows written one by one to a CSV or JSONL file that is there whole or not at all."""

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from hfssl.predicting.answers import as_cells
from hfssl.run_dir import JsonView

Write = Callable[[JsonView], None]


@contextmanager
def rows_file(path: Path, columns: Sequence[str]) -> Iterator[Write]:
    """What writes a row; a column that a row lacks is null or an empty cell. The file is renamed into place after the last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            yield _csv_writer(file, columns) if path.suffix == ".csv" else _jsonl_writer(file, columns)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _csv_writer(file: TextIO, columns: Sequence[str]) -> Write:
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    return lambda row: writer.writerow(as_cells(row))


def _jsonl_writer(file: TextIO, columns: Sequence[str]) -> Write:
    def write(row: JsonView) -> None:
        file.write(json.dumps({name: row.get(name) for name in columns}, ensure_ascii=False) + "\n")

    return write
