"""Decoded images on disk: one memory-mapped file of uint8 pixels that all ranks and workers share.

A file holds the images one after the other, each (C, h, w); a second file holds a table of heights, widths and offsets. A row
that could not be decoded has height 0. Images much larger than the working size are stored at 1.5 times that size.
"""

import json
import math
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms.v2.functional import resize

from hfssl.data.cache_folder import cache_root, is_sealed, made_once, seal
from hfssl.data.images.files import decode
from hfssl.data.source import Source
from hfssl.objective import Array, BadRowError
from hfssl.run_dir import write_text

FORMAT = 1  # of the files and of the rules in image_files: a new number leaves old caches alone
OVERSIZE = 1.5
_ROWS_FOR_WORKERS = 2_000
_ROWS_A_LINE = 10_000
_PROBED_ROWS = 32


class DecodedImages:
    """Images decoded whenever they are asked for."""

    def __init__(self, source: Source, num_channels: int) -> None:
        self._source = source
        self._num_channels = num_channels

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Tensor:
        """(C, h, w) uint8. Raises BadRowError."""
        return decode(self._source.sample(index), self._num_channels)


class ShrunkImages(DecodedImages):
    """Decoded images whose shorter side is brought down to `side` where it is longer: what the cache stores."""

    def __init__(self, source: Source, num_channels: int, side: int) -> None:
        super().__init__(source, num_channels)
        self._side = side

    def __getitem__(self, index: int) -> Tensor:
        image = super().__getitem__(index)
        if min(image.shape[1:]) <= self._side:
            return image
        shorter = min(image.shape[1:])
        target = [round(length * self._side / shorter) for length in image.shape[1:]]
        return resize(image, target, antialias=True)


class CachedImages:
    """Images read from a cache folder that `build` wrote."""

    def __init__(self, folder: Path, num_channels: int) -> None:
        self._folder = folder
        self._num_channels = num_channels
        self.sizes_N2: Array = np.load(folder / "sizes.npy")
        self._sizes: list[list[int]] = self.sizes_N2.tolist()
        self._offsets: list[int] = np.load(folder / "offsets.npy").tolist()
        self._reasons: dict[str, str] = json.loads((folder / "bad_rows.json").read_text(encoding="utf-8"))
        pixels = folder / "pixels.u8"
        self._pixels = torch.from_file(str(pixels), shared=False, size=pixels.stat().st_size, dtype=torch.uint8)

    def __reduce__(self) -> tuple[object, ...]:
        return CachedImages, (self._folder, self._num_channels)  # a spawned worker maps the file itself

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: int) -> Tensor:
        """(C, h, w) uint8, a view of the mapped file. Raises BadRowError."""
        height, width = self._sizes[index]
        if height == 0:
            raise BadRowError(self._reasons[str(index)])
        start = self._offsets[index]
        pixels = self._pixels[start : start + self._num_channels * height * width]
        return pixels.view(self._num_channels, height, width)

    @property
    def bad_rows(self) -> dict[int, str]:
        """Row -> why it could not be decoded."""
        return {int(index): reason for index, reason in self._reasons.items()}

    def uniform_size(self) -> tuple[int, int] | None:
        """(height, width) if all good images have the same, else None."""
        good = self.sizes_N2[self.sizes_N2[:, 0] > 0]
        return (int(good[0, 0]), int(good[0, 1])) if len(good) and bool((good == good[0]).all()) else None


def cached(source: Source, *, num_channels: int, image_size: int) -> CachedImages | None:
    """The decoded images of `source` from the cache, which is filled first if need be; None where it would not fit.

    Ranks and runs that ask at the same time wait for the one that fills it.
    """
    side = math.ceil(OVERSIZE * image_size)
    root = cache_root("images")
    folder = root / f"{source.fingerprint()}-{num_channels}x{side}-v{FORMAT}"
    if not is_sealed(folder) and _estimated_bytes(source, num_channels, side) > shutil.disk_usage(root).free // 2:
        return None
    images = ShrunkImages(source, num_channels, side)
    made_once(folder, is_sealed, partial(_write, images=images))
    return CachedImages(folder, num_channels)


def _estimated_bytes(source: Source, num_channels: int, side: int) -> int:
    images = ShrunkImages(source, num_channels, side)
    counts = []
    for index in np.linspace(0, len(source) - 1, min(_PROBED_ROWS, len(source)), dtype=int):
        try:
            counts.append(images[int(index)].numel())
        except BadRowError:
            continue
    return len(source) * max(counts, default=0)


class _Rows:
    """Images or the reason why there is none, as a data set that worker processes can read."""

    def __init__(self, images: DecodedImages) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Tensor | str:
        try:
            return self._images[index]
        except BadRowError as error:
            return str(error)


def _write(folder: Path, images: DecodedImages) -> None:
    sizes_N2 = np.zeros((len(images), 2), dtype=np.int64)
    offsets_N = np.zeros(len(images), dtype=np.int64)
    reasons: dict[str, str] = {}
    written = 0
    with (folder / "pixels.u8").open("wb") as file:
        for index, image in enumerate(_decoded(images)):
            if index and index % _ROWS_A_LINE == 0:
                print(f"decoding images into the cache: {index} of {len(images)}", flush=True)
            if isinstance(image, str):
                reasons[str(index)] = image
                continue
            sizes_N2[index] = image.shape[1:]
            offsets_N[index] = written
            written += file.write(image.numpy().tobytes())
        if written == 0:
            file.write(b"\0")  # an empty file cannot be mapped
    np.save(folder / "sizes.npy", sizes_N2)
    np.save(folder / "offsets.npy", offsets_N)
    write_text(folder / "bad_rows.json", json.dumps(reasons))
    seal(folder)


def _decoded(images: DecodedImages) -> Iterator[Tensor | str]:
    workers = min(8, torch.get_num_threads()) if len(images) >= _ROWS_FOR_WORKERS else 0
    loader: DataLoader[Tensor | str] = DataLoader(_Rows(images), batch_size=64, num_workers=workers, collate_fn=list)  # type: ignore[arg-type]
    for rows in loader:
        yield from rows
