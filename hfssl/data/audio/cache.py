"""Decoded recordings on disk: one memory-mapped file of int16 samples that all ranks and workers share.

N recordings, T samples.

`samples.i16` holds the recordings one after the other. Each has a scale of its own, a power of two at or above its peak: so
that 16-bit files are stored bit by bit, and loud or quiet floats no worse than these. A row that could not be decoded has
length 0. Headers are read first, once, to know whether all this fits on the disk.
"""

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from hfssl.data.audio.files import decode, frames_of
from hfssl.data.cache_folder import cache_root, is_sealed, made_once, seal
from hfssl.data.source import Source
from hfssl.objective import Array, BadRowError
from hfssl.run_dir import write_text

FORMAT = 1  # of the files and of the rules in audio_files: a new number leaves old caches alone
_FULL_SCALE = 32768.0
Row = TypeVar("Row")
_SAMPLES_FOR_WORKERS = 16_000 * 3600
_ROWS_A_LINE = 10_000


@dataclass(frozen=True)
class Recording:
    """samples: (T,) float32, or int16 in units of `scale`."""

    samples: Tensor
    scale: float

    def __len__(self) -> int:
        return len(self.samples)

    def piece(self, start: int, length: int) -> Tensor:
        """(length,) float32, shorter where the recording ends before."""
        return self.samples[start : start + length].to(torch.float32).mul_(self.scale)


class Recordings(Protocol):
    """Recordings by row.

    lengths: samples of each, (N,) int64, 0 where it cannot be used. bad_rows: row -> why.
    """

    lengths: Array
    bad_rows: dict[int, str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Recording: ...  # raises BadRowError


class DecodedAudio:
    """Recordings decoded whenever they are asked for; `lengths` are what their headers say."""

    def __init__(self, source: Source, sampling_rate: int, lengths: Array, bad_rows: dict[int, str]) -> None:
        self._source = source
        self._sampling_rate = sampling_rate
        self.lengths = lengths
        self.bad_rows = bad_rows

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Recording:
        """In float32. Raises BadRowError."""
        return Recording(decode(self._source.sample(index), self._sampling_rate), 1.0)


class CachedAudio:
    """Recordings read from a cache folder that `recordings_of` filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lengths, self.bad_rows = _read_lengths(folder)
        self._stops: Array = np.cumsum(self.lengths)
        self._scales: Array = np.load(folder / "scales.npy")
        file = folder / "samples.i16"
        self._samples = torch.from_file(str(file), shared=False, size=file.stat().st_size // 2, dtype=torch.int16)

    def __reduce__(self) -> tuple[object, ...]:
        return CachedAudio, (self.folder,)  # a spawned worker maps the file itself

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Recording:
        """In int16, a view of the mapped file. Raises BadRowError."""
        length, stop = int(self.lengths[index]), int(self._stops[index])
        if length == 0:
            raise BadRowError(self.bad_rows[index])
        return Recording(self._samples[stop - length : stop], float(self._scales[index]))


def recordings_of(source: Source, *, sampling_rate: int, cache: Literal["auto", "never"]) -> CachedAudio | DecodedAudio:
    """The recordings of `source` from the cache, which is filled first if need be; decoded at each access where they would
    take more than half of the free disk, or where `cache` says so.

    Ranks and runs that ask at the same time wait for the one that fills it.
    """
    root = cache_root("audio")
    name = f"{source.fingerprint()}-{sampling_rate}-v{FORMAT}"
    if cache == "auto" and is_sealed(root / name):
        return CachedAudio(root / name)
    headers = made_once(
        root / f"{name}-headers", is_sealed, partial(_write_headers, source=source, sampling_rate=sampling_rate)
    )
    decoded = DecodedAudio(source, sampling_rate, *_read_lengths(headers))
    if cache == "never" or 2 * int(decoded.lengths.sum()) > shutil.disk_usage(root).free // 2:
        return decoded
    return CachedAudio(made_once(root / name, is_sealed, partial(_write, recordings=decoded)))


def stored(audio: Tensor) -> Recording:
    """(T,) float32 as the cache keeps it: exact for 16-bit audio, else to half a step of 1/32768 of the scale."""
    peak = float(audio.abs().max())
    scale = 2.0 ** math.ceil(math.log2(peak))
    whole = (audio * (_FULL_SCALE / scale)).round_().clamp_(-_FULL_SCALE, _FULL_SCALE - 1)
    return Recording(whole.to(torch.int16), scale / _FULL_SCALE)


def _read_lengths(folder: Path) -> tuple[Array, dict[int, str]]:
    reasons = json.loads((folder / "bad_rows.json").read_text(encoding="utf-8"))
    return np.load(folder / "lengths.npy"), {int(row): reason for row, reason in reasons.items()}


def _write_lengths(folder: Path, lengths: Array, bad_rows: dict[int, str]) -> None:
    np.save(folder / "lengths.npy", lengths)
    write_text(folder / "bad_rows.json", json.dumps(bad_rows))


def _write_headers(folder: Path, source: Source, sampling_rate: int) -> None:
    lengths = np.zeros(len(source), dtype=np.int64)
    bad_rows: dict[int, str] = {}
    for index in range(len(source)):
        if index and index % _ROWS_A_LINE == 0:
            print(f"reading headers of recordings: {index} of {len(source)}", flush=True)
        try:
            lengths[index] = frames_of(source.sample(index), sampling_rate)
        except BadRowError as error:
            bad_rows[index] = str(error)
    _write_lengths(folder, lengths, bad_rows)
    seal(folder)


def _write(folder: Path, recordings: DecodedAudio) -> None:
    lengths, scales = np.zeros(len(recordings), dtype=np.int64), np.zeros(len(recordings))
    bad_rows: dict[int, str] = {}
    with (folder / "samples.i16").open("wb") as file:
        for index, item in enumerate(_decoded(recordings)):
            if index and index % _ROWS_A_LINE == 0:
                print(f"decoding recordings into the cache: {index} of {len(recordings)}", flush=True)
            if isinstance(item, str):
                bad_rows[index] = item
                continue
            lengths[index], scales[index] = len(item), item.scale
            file.write(item.samples.numpy().tobytes())
        if file.tell() == 0:
            file.write(b"\0\0")  # an empty file cannot be mapped
    np.save(folder / "scales.npy", scales)
    _write_lengths(folder, lengths, bad_rows)
    seal(folder)


class _Rows:
    """Recordings as they are stored, or the reason why there is none, as a data set that worker processes can read."""

    def __init__(self, recordings: DecodedAudio) -> None:
        self._recordings = recordings

    def __len__(self) -> int:
        return len(self._recordings)

    def __getitem__(self, index: int) -> Recording | str:
        try:
            return stored(self._recordings[index].samples)
        except BadRowError as error:
            return str(error)


def _decoded(recordings: DecodedAudio) -> Iterator[Recording | str]:
    is_large = recordings.lengths.sum() > _SAMPLES_FOR_WORKERS
    loader: DataLoader[Recording | str] = DataLoader(
        _Rows(recordings),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=min(8, torch.get_num_threads()) if is_large else 0,
        collate_fn=_as_it_is,
    )
    yield from loader


def _as_it_is(row: Row) -> Row:
    return row
