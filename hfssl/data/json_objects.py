"""One JSON object that holds all rows: `{"version": ..., "data": [...]}`, and the nested form that SQuAD is published in."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset

from hfssl.errors import ConfigError, one_line

_ROWS = "data"


def holds_rows(file: Path) -> bool:
    """Whether the file is one object over many lines, or one line with a list `data`, and no row by itself."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        first, second = next(lines, ""), next(lines, "")
    if not first.lstrip().startswith("{"):
        return False
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        return bool(second)  # an object that ends on a later line
    return not second.strip() and isinstance(row, dict) and isinstance(row.get(_ROWS), list)


def read_rows(file: Path) -> Dataset:
    """The rows of the list `data`; of SQuAD's form one for each question. Raises ConfigError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is not JSON: {one_line(error)}") from error
    rows = content.get(_ROWS) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(
            f"{file} is one JSON object without a list of rows in {_ROWS}: write a line for each row (JSONL)"
        )
    state = file.stat()
    fingerprint = hashlib.sha256(f"{file} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:16]
    try:
        table = pa.Table.from_pylist(list(_questions(rows)) if rows and "paragraphs" in rows[0] else rows)
        return Dataset(table, fingerprint=fingerprint)
    except (pa.ArrowException, KeyError, TypeError) as error:
        raise ConfigError(f"the rows of {file} are not alike: {one_line(error)}") from error


def _questions(articles: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Columns as `datasets` has them: id, title, context, question, answers with their texts and starts in characters."""
    for article in articles:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                answers = asked.get("answers") or []
                yield {
                    "id": str(asked.get("id", "")),
                    "title": article.get("title"),
                    "context": paragraph["context"],
                    "question": asked["question"],
                    "answers": {
                        "text": [answer["text"] for answer in answers],
                        "answer_start": [answer["answer_start"] for answer in answers],
                    },
                }
