"""Decoded images of a split with their labels and groups, and the two floors that need no model: raw pixels and PCA."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from hfssl.data.images.files import decode
from hfssl.data.source import Source
from hfssl.evaluation.duplicates import difference_hash
from hfssl.objective import Array, BadRowError
from hfssl.randomness import DataOrder

FLOOR_SIDE = 16
PCA_VARIANCE = 0.95
MOST_KEPT_BYTES = 1_000_000_000


class Images:
    """At most `most` good rows of a source, the first of a fixed permutation; rows that cannot be decoded are left out.

    Each is a (C, h, w) uint8 image. They are kept while they are small altogether, else decoded each time, so that a
    folder of large photographs fits into memory.

    rows: their numbers in the source; labels: as they are stored, or None; hashes: see `duplicates.difference_hash`;
    num_bad: rows left out.
    """

    def __init__(self, source: Source, num_channels: int, most: int | None = None) -> None:
        self._source = source
        self._num_channels = num_channels
        self._kept: dict[int, Tensor] | None = {}
        self._small: dict[int, Tensor] = {}
        self.rows: list[int] = []
        self.num_bad = 0
        hashes = []
        kept_bytes = 0
        _, order = DataOrder(len(source), seed=0).at(torch.arange(len(source)))
        for row in order[:most].tolist():
            try:
                image = decode(source.sample(row), num_channels)
            except BadRowError:
                self.num_bad += 1
                continue
            self.rows.append(row)
            self._small[row] = image if max(image.shape[1:]) <= FLOOR_SIDE else _to_floor(image)
            hashes.append(difference_hash(image))
            kept_bytes += image.numel()
            if kept_bytes > MOST_KEPT_BYTES:
                self._kept = None
            if self._kept is not None:
                self._kept[row] = image
        all_labels = source.labels()
        self.labels: Array | None = None if all_labels is None else all_labels[self.rows]
        self.hashes: Array = np.array(hashes, dtype=np.uint64)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        row = self.rows[index]
        return self._kept[row] if self._kept is not None else decode(self._source.sample(row), self._num_channels)

    def part(self, chosen: Array) -> "Images":
        """The images where the (N,) bool mask is true."""
        part = copy.copy(self)
        part.rows = [row for row, taken in zip(self.rows, chosen, strict=True) if taken]
        part.labels = None if self.labels is None else self.labels[chosen]
        part.hashes = self.hashes[chosen]
        return part

    def small(self) -> list[Tensor]:
        """The images for the raw-pixel floor: their own size up to FLOOR_SIDE, brought to FLOOR_SIDE squares beyond."""
        return [self._small[row] for row in self.rows]


def _to_floor(image: Tensor) -> Tensor:
    return resize(image, [FLOOR_SIDE, FLOOR_SIDE], antialias=True)


def raw_pixels(images: Sequence[Tensor]) -> Array:
    """(N, values) float32 in [0, 1]; one size for all, and one channel where all channels agree."""
    if len({tuple(image.shape[1:]) for image in images}) > 1:
        images = [_to_floor(image) for image in images]
    stacked = torch.stack(list(images))
    if bool((stacked == stacked[:, :1]).all()):
        stacked = stacked[:, :1]
    pixels: Array = (stacked.flatten(1).float() / 255).numpy()
    return pixels


def baselines(train: Images, test: Images | None) -> dict[str, tuple[Array, Array | None]]:
    """Raw pixels and their PCA (fitted on training rows) as (training features, test features or None)."""
    joined = raw_pixels([*train.small(), *(test.small() if test else [])])
    pixels, test_pixels = joined[: len(train)], joined[len(train) :]
    reduction = PCA(PCA_VARIANCE, random_state=0).fit(pixels)
    if test is None:
        return {"raw pixels": (pixels, None), "PCA of pixels": (reduction.transform(pixels), None)}
    reduced = (reduction.transform(pixels), reduction.transform(test_pixels))
    return {"raw pixels": (pixels, test_pixels), "PCA of pixels": reduced}
