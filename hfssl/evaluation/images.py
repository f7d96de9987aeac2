"""Decoded images of a split with their labels and groups, and the two floors that need no model: raw pixels and PCA."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from hfssl.data.image_files import decode
from hfssl.data.source import Source
from hfssl.objective import BadRowError
from hfssl.randomness import DataOrder

Array = np.ndarray[Any, Any]
FLOOR_SIDE = 16
PCA_VARIANCE = 0.95


class Images:
    """At most `most` good rows of a source, the first of a fixed permutation; rows that can not be decoded are left out.

    pixels: (C, h, w) uint8 each; rows: their numbers in the source; labels: as they are stored, or None.
    """

    def __init__(self, source: Source, num_channels: int, most: int | None = None) -> None:
        self.pixels: list[Tensor] = []
        self.rows: list[int] = []
        self.num_bad = 0
        _, order = DataOrder(len(source), seed=0).at(torch.arange(len(source)))
        for row in order[:most].tolist():
            try:
                self.pixels.append(decode(source.sample(row), num_channels))
            except BadRowError:
                self.num_bad += 1
                continue
            self.rows.append(row)
        all_labels = source.labels()
        self.labels: Array | None = None if all_labels is None else all_labels[self.rows]

    def part(self, chosen: Array) -> "Images":
        """The images where the (N,) bool mask is true."""
        part = copy.copy(self)
        indices = np.flatnonzero(chosen).tolist()
        part.pixels = [self.pixels[index] for index in indices]
        part.rows = [self.rows[index] for index in indices]
        part.labels = None if self.labels is None else self.labels[indices]
        return part


def raw_pixels(images: Sequence[Tensor], side: int) -> Array:
    """(N, values) float32 in [0, 1]: images brought to `side` x `side` where `side` is above 0; one channel where all agree."""
    if side:
        images = [resize(image, [side, side], antialias=True) for image in images]
    stacked = torch.stack(list(images))
    if bool((stacked == stacked[:, :1]).all()):
        stacked = stacked[:, :1]
    pixels: Array = (stacked.flatten(1).float() / 255).numpy()
    return pixels


def floor_side(images: Sequence[Tensor]) -> int:
    """0 where all images have one size of at most FLOOR_SIDE pixels, else FLOOR_SIDE."""
    sides = {tuple(image.shape[1:]) for image in images}
    return FLOOR_SIDE if len(sides) > 1 or max(max(side) for side in sides) > FLOOR_SIDE else 0


def floors(train: Images, test: Images | None) -> dict[str, tuple[Array, Array | None]]:
    """Raw pixels and their PCA (fitted on training rows) as (training features, test features or None)."""
    side = floor_side([*train.pixels, *(test.pixels if test else [])])
    joined = raw_pixels([*train.pixels, *(test.pixels if test else [])], side)
    pixels, test_pixels = joined[: len(train.pixels)], joined[len(train.pixels) :]
    reduction = PCA(PCA_VARIANCE, random_state=0).fit(pixels)
    if test is None:
        return {"raw pixels": (pixels, None), "PCA of pixels": (reduction.transform(pixels), None)}
    reduced = (reduction.transform(pixels), reduction.transform(test_pixels))
    return {"raw pixels": (pixels, test_pixels), "PCA of pixels": reduced}
