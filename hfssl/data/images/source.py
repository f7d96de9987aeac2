"""Images on their way to a model: rows with a column of image files or arrays."""

from pathlib import Path

import datasets
from datasets import Dataset

from hfssl.data.columns import is_text, undecoded_files
from hfssl.data.folder_files import holds_files
from hfssl.data.folder_rows import open_folder
from hfssl.data.images.config import IMAGE_SUFFIXES, ImageDataConfig
from hfssl.data.location_check import is_saved_set
from hfssl.data.open_source import Reader, open_source
from hfssl.data.reading import Opened
from hfssl.data.source import Source

_PATH_NAMES = ("image", "path", "file", "file_name", "filename", "filepath")
_ARRAY_FEATURES = (datasets.Array2D, datasets.Array3D)


def image_columns(features: datasets.Features) -> list[str]:
    """Columns of images; where there is none, of 2-d and 3-d arrays; where there is none either, of paths by their name."""
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    arrays = [name for name, feature in features.items() if isinstance(feature, _ARRAY_FEATURES)]
    texts = [name for name, feature in features.items() if is_text(feature)]
    return images or arrays or [name for name in texts if name in _PATH_NAMES]


def open_images(data: ImageDataConfig) -> Source:
    """The images that the config names. Raises ConfigError."""
    return open_source(data, _READER, column=data.image_column, label_column=data.label_column)


def open_image_files(path: Path) -> Opened | None:
    """The files of a folder of images; None where there are none."""
    if not path.is_dir() or is_saved_set(path) or not holds_files(path, IMAGE_SUFFIXES):
        return None
    return open_folder(path, "image", datasets.Image(decode=False), IMAGE_SUFFIXES)


def _undecoded(samples: Dataset, column: str, folder: Path) -> Dataset:
    return undecoded_files(samples, column, datasets.Image(decode=False), folder)


_READER = Reader(flag="image_column", find=image_columns, open_files=open_image_files, undecoded=_undecoded)
