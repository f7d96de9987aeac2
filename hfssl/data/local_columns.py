"""The columns of local data whose modality is not known yet: which task they are for."""

from pathlib import Path

from hfssl.data.audio.source import open_recording_files
from hfssl.data.images.source import open_image_files
from hfssl.data.location_check import TABLE_SUFFIXES
from hfssl.data.open_source import open_local
from hfssl.errors import require
from hfssl.run_dir import Json


def local_features(path: Path, dataset_config: str | None = None) -> Json:
    """Column -> its type, of the first split. Raises ConfigError where nothing can be opened."""
    if path.is_file():
        allowed = ", ".join(sorted(TABLE_SUFFIXES))
        require(path.suffix.lower() in TABLE_SUFFIXES, f"--dataset {path} is no table of the kinds {allowed}")
    opened = open_image_files(path) or open_recording_files(path) or open_local(path, dataset_config)
    return dict(next(iter(opened.splits.values())).features)
