"""Texts on their way to a model: rows with a column of documents."""

from pathlib import Path

import datasets
from datasets import Dataset

from hfssl.data.columns import FindColumn, is_text
from hfssl.data.open_source import Labelling, Reader, open_source
from hfssl.data.reading import Opened
from hfssl.data.source import Source
from hfssl.data.texts.config import TextDataConfig, reads_text_files
from hfssl.data.texts.documents import documents
from hfssl.data.texts.files import open_text_files
from hfssl.errors import require

_FLAG = "text_column"


def text_columns(features: datasets.Features) -> list[str]:
    """Columns of strings."""
    return [name for name, feature in features.items() if is_text(feature)]


def open_texts(data: TextDataConfig) -> Source:
    """The texts that the config names, without empty ones. Raises ConfigError."""

    def open_files(path: Path) -> Opened | None:
        return open_text_files(data) if reads_text_files(str(path)) else None

    reader = Reader(flag=_FLAG, find=text_columns, open_files=open_files, filter_rows=_documents)
    return open_source(data, reader, column=data.text_column, label_column=data.label_column)


def open_text_rows(data: TextDataConfig, find: FindColumn, labelling: Labelling) -> Source:
    """The labelled rows of a task on texts, empty ones too; the task checks its columns itself.

    Args:
        find: names of the columns that can hold the samples; labelling: how labels are found.

    Raises:
        ConfigError: plain text files, which have no labels; no such data or columns.
    """
    require(
        data.dataset is None or not reads_text_files(data.dataset),
        f"--dataset {data.dataset} is plain text, which has no labels: name a CSV, JSONL or Parquet file with a column of them",
    )
    reader = Reader(flag=_FLAG, find=find, open_files=lambda path: None)
    return open_source(data, reader, column=data.text_column, label_column=data.label_column, labelling=labelling)


def _documents(rows: Dataset, column: str, name: str) -> Dataset:
    feature = rows.features[column]
    require(is_text(feature), f"--{_FLAG} {column} holds no texts but {type(feature).__name__}: choose another")
    return documents(rows, column, name)
