"""Data that a program holds in memory, as a data set on disk that every reader of `--dataset` opens.

Files are named by their content, so that the same data is stored once and an interrupted run finds it again.
"""

import hashlib
import io
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import datasets
import numpy as np
import soundfile
from PIL import Image

from hfssl.data.cache_folder import cache_root, is_sealed, made_once, seal
from hfssl.errors import ConfigError, require
from hfssl.objective import Array

Modality = Literal["image", "text", "audio"]
Sample: TypeAlias = str | Image.Image | Array
InMemory: TypeAlias = (
    str
    | Path
    | datasets.Dataset
    | datasets.DatasetDict
    | Sequence[Sample | Mapping[str, object]]
    | Mapping[str, object]
)
"""Data that a call may name: see `as_dataset_path`."""
_FILES = {"image": ".png", "text": ".txt", "audio": ".wav"}


def as_dataset_path(dataset: InMemory, sampling_rate: int | None = None) -> str:
    """What `--dataset` takes: a path or a Hub id as it is, anything else stored in the cache.

    Args:
        dataset: a path, a Hub id, `demo:NAME`, a `datasets.Dataset` or `DatasetDict`, or a list of PIL images or
            (H, W[, C]) uint8 arrays, of texts, of (T,) float waveforms, or of dictionaries with one key per column.
        sampling_rate: of waveforms, in Hz.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(dataset, (str, Path)):
        return str(dataset)
    if not isinstance(dataset, (datasets.Dataset, datasets.DatasetDict)):
        dataset = _table(dataset, sampling_rate)
    parts = dataset.values() if isinstance(dataset, datasets.DatasetDict) else [dataset]
    name = hashlib.sha256(" ".join(part._fingerprint for part in parts).encode()).hexdigest()[:16]
    return str(made_once(cache_root("in_memory") / name, is_sealed, _writer(dataset)))


def as_files(samples: Sequence[Sample], folder: Path, sampling_rate: int | None = None) -> Path:
    """Images, texts or waveforms as files 00000.png, 00001.png, ... in `folder`."""
    modality = _one_modality(samples)
    folder.mkdir(parents=True, exist_ok=True)
    for place, sample in enumerate(samples):
        content = sample.encode() if isinstance(sample, str) else _encoded(sample, modality, sampling_rate)
        (folder / f"{place:05d}{_FILES[modality]}").write_bytes(content)
    return folder


def modality_of(samples: Sequence[object]) -> Modality:
    """What a list holds, by its first element. Raises ConfigError for anything else."""
    require(len(samples) > 0, "the list of samples is empty")
    first = samples[0]
    if isinstance(first, str):
        return "text"
    if isinstance(first, Image.Image) or (isinstance(first, np.ndarray) and first.dtype == np.uint8 and first.ndim > 1):
        return "image"
    if isinstance(first, np.ndarray) and first.ndim == 1 and np.issubdtype(first.dtype, np.floating):
        return "audio"
    raise ConfigError(
        "data must be a path, a Hub id, a datasets.Dataset, or a list of PIL images, uint8 arrays (H, W[, C]), texts, float "
        f"waveforms (T,) or dictionaries; got a list of {_described(first)}"
    )


def _described(value: object) -> str:
    return f"{value.dtype} arrays {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _one_modality(samples: Sequence[object]) -> Modality:
    modality = modality_of(samples)
    for place, sample in enumerate(samples):
        kind = modality_of([sample])
        require(
            kind == modality,
            f"a list must hold samples of one kind: element 0 is {modality}, element {place} is {kind}",
        )
    return modality


def _table(samples: Any, sampling_rate: int | None) -> datasets.Dataset:
    if isinstance(samples, Mapping):
        return _with_classes(datasets.Dataset.from_dict(dict(samples)))
    require(isinstance(samples, Sequence), f"data must be a path, a Dataset or a list, got {type(samples).__name__}")
    if samples and isinstance(samples[0], Mapping):
        return _with_classes(datasets.Dataset.from_list([dict(row) for row in samples]))
    modality = _one_modality(samples)
    if modality == "text":
        return datasets.Dataset.from_dict({"text": list(samples)})
    files = [{"bytes": _encoded(sample, modality, sampling_rate), "path": None} for sample in samples]
    struct = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    table = datasets.Dataset.from_dict({modality: files}, features=datasets.Features({modality: struct}))
    return table.cast_column(modality, datasets.Image() if modality == "image" else datasets.Audio())


def _with_classes(table: datasets.Dataset) -> datasets.Dataset:
    """`table`, of which a column `label` of texts is one of classes."""
    is_text = getattr(table.features.get("label"), "dtype", None) == "string"
    return table.class_encode_column("label") if is_text else table


def _encoded(sample: Image.Image | Array, modality: Modality, sampling_rate: int | None) -> bytes:
    buffer = io.BytesIO()
    if modality == "image":
        image = sample if isinstance(sample, Image.Image) else Image.fromarray(sample)
        image.save(buffer, format="PNG")
    else:
        require(sampling_rate is not None, "waveforms need sampling_rate, in Hz")
        soundfile.write(buffer, np.asarray(sample, dtype=np.float32), sampling_rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def _writer(dataset: datasets.Dataset | datasets.DatasetDict) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        shutil.rmtree(folder)
        with _without_bars():
            dataset.save_to_disk(folder)
        seal(folder)

    return write


@contextmanager
def _without_bars() -> Iterator[None]:
    were_shown = datasets.are_progress_bars_disabled() is False
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if were_shown:
            datasets.enable_progress_bars()
