"""Texts on their way to a model: rows with a column of documents."""

import datasets

from hfssl.data.columns import is_text
from hfssl.data.source import Source, open_source
from hfssl.data.texts.config import TextDataConfig


def text_columns(features: datasets.Features) -> list[str]:
    """Columns of strings."""
    return [name for name, feature in features.items() if is_text(feature)]


def open_texts(data: TextDataConfig) -> Source:
    """The texts that the config names, without empty ones. Raises ConfigError."""
    return open_source(
        data, find=text_columns, column=data.text_column, label_column=data.label_column, flag="text_column"
    )
