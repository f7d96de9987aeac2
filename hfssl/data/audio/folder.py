"""Opening data sets of recordings without the library that `datasets` decodes audio with.

`datasets.Audio` imports torchcodec even to write a path into a row, as its folder builder does. We decode with soundfile.
"""

import datasets
from datasets import DatasetDict, load_dataset_builder
from datasets.packaged_modules.audiofolder.audiofolder import AudioFolder

from hfssl.data.source import StoredFile


class _AudioFile(datasets.Audio):
    """An audio feature that is given paths only."""

    def encode_example(self, value: object) -> StoredFile:
        return {"bytes": None, "path": str(value)}


def load_with_audio(name: str, config_name: str | None = None, *, data_dir: str | None = None) -> DatasetDict:
    """What `datasets.load_dataset` gives, of a Hub id or of `audiofolder` and a folder; recordings are bytes or paths."""
    builder = load_dataset_builder(name, config_name, data_dir=data_dir)
    if isinstance(builder, AudioFolder):
        builder.BASE_FEATURE = _AudioFile
    builder.download_and_prepare()
    return builder.as_dataset()
