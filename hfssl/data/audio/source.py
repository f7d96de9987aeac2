"""Recordings on their way to a model: rows with a column of audio files."""

from typing import Any

import datasets

from hfssl.data.audio.config import AudioDataConfig
from hfssl.data.columns import is_text
from hfssl.data.source import Source, open_source
from hfssl.errors import require

_PATH_NAMES = ("audio", "path", "file", "file_name", "filename", "filepath")


def audio_columns(features: datasets.Features) -> list[str]:
    """Columns of recordings; where there is none, of bytes beside a path; where there is none either, of paths by their name."""
    recordings = [name for name, feature in features.items() if isinstance(feature, datasets.Audio)]
    files = [name for name, feature in features.items() if _is_file(feature)]
    texts = [name for name, feature in features.items() if is_text(feature)]
    return recordings or files or [name for name in texts if name in _PATH_NAMES]


def open_recordings(data: AudioDataConfig) -> Source:
    """The recordings that the config names. Raises ConfigError."""
    source = open_source(
        data, find=audio_columns, column=data.audio_column, label_column=data.label_column, flag="audio_column"
    )
    feature = source.rows.features[source.column]
    require(
        isinstance(feature, datasets.Audio) or _is_file(feature),
        f"--audio_column {source.column} holds no recordings but {type(feature).__name__}: choose another",
    )
    return source


def _is_file(feature: Any) -> bool:
    """What a table written without `datasets` makes of recordings."""
    return isinstance(feature, dict) and set(feature) == {"bytes", "path"}
