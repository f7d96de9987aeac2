"""Recordings on their way to a model: rows with a column of audio files."""

from pathlib import Path

import datasets
from datasets import Dataset

from hfssl.data.audio.config import AUDIO_SUFFIXES, AudioDataConfig
from hfssl.data.audio.folder import load_with_audio
from hfssl.data.audio.segments import MANIFEST_COLUMN, with_segments
from hfssl.data.columns import is_text, undecoded_files
from hfssl.data.folder_files import holds_files
from hfssl.data.folder_rows import open_folder
from hfssl.data.location_check import is_saved_set
from hfssl.data.open_source import Reader, open_source
from hfssl.data.reading import Opened
from hfssl.data.source import Source
from hfssl.errors import require

_PATH_NAMES = ("audio", "path", "file", "file_name", "filename", "filepath", MANIFEST_COLUMN)


def audio_columns(features: datasets.Features) -> list[str]:
    """Columns of recordings; where there is none, of bytes with a path; where there is none either, of paths by their name."""
    recordings = [name for name, feature in features.items() if isinstance(feature, datasets.Audio)]
    files = [name for name, feature in features.items() if _is_file(feature)]
    texts = [name for name, feature in features.items() if is_text(feature)]
    return recordings or files or [name for name in texts if name in _PATH_NAMES]


def open_recordings(data: AudioDataConfig) -> Source:
    """The recordings that the config names. Raises ConfigError."""
    source = open_source(data, _READER, column=data.audio_column, label_column=data.label_column)
    feature = source.rows.features[source.column]
    require(
        isinstance(feature, datasets.Audio) or _is_file(feature),
        f"--audio_column {source.column} holds no recordings but {type(feature).__name__}: choose another",
    )
    return source


def _is_file(feature: object) -> bool:
    """What a table written without `datasets` makes of recordings."""
    return isinstance(feature, dict) and set(feature) == {"bytes", "path"}


def open_recording_files(path: Path) -> Opened | None:
    """The files of a folder of recordings; None where there are none."""
    if not path.is_dir() or is_saved_set(path) or not holds_files(path, AUDIO_SUFFIXES):
        return None
    return open_folder(path, "audio", datasets.Audio(decode=False), AUDIO_SUFFIXES)


def _undecoded(samples: Dataset, column: str, folder: Path) -> Dataset:
    """Paths become plain strings first: unlike images, recordings cannot be made of large strings."""
    return undecoded_files(samples, column, datasets.Audio(decode=False), folder, paths_as=datasets.Value("string"))


_READER = Reader(
    flag="audio_column",
    find=audio_columns,
    open_files=open_recording_files,
    load=load_with_audio,
    filter_rows=with_segments,
    undecoded=_undecoded,
)
