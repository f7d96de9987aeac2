"""Near-duplicates across splits: test rows that the training rows give away. N training rows, M test rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torchvision.transforms.v2.functional import resize, rgb_to_grayscale

Array = np.ndarray[Any, Any]
SIMILARITY = 0.999
_HASH_SIDE = 8
_BLOCK = 1024


def pixel_hashes(images: Sequence[Tensor]) -> Array:
    """A 64-bit difference hash of each (C, h, w) uint8 image: is each of 8 x 8 cells brighter than its right neighbour?

    It survives resizing and recompression (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions").
    """
    hashes = []
    for image in images:
        grey = rgb_to_grayscale(image) if image.shape[0] == 3 else image[:1]
        small = resize(grey, [_HASH_SIDE, _HASH_SIDE + 1], antialias=True)[0].to(torch.int16)
        hashes.append(np.packbits((small[:, 1:] > small[:, :-1]).flatten().numpy()))
    packed: Array = np.stack(hashes).view(np.uint64)[:, 0]
    return packed


def same_pixels(train: Sequence[Tensor], test: Sequence[Tensor]) -> Array:
    """(M,) bool: a training image has the same hash; images without any contrast do not count."""
    train_hashes, test_hashes = pixel_hashes(train), pixel_hashes(test)
    return np.isin(test_hashes, train_hashes) & (test_hashes != 0)


def same_features(train_ND: Array, test_MD: Array) -> Array:
    """(M,) bool: a training row's standardised features point the same way, at a cosine of at least SIMILARITY."""
    mean, std = train_ND.mean(axis=0), train_ND.std(axis=0) + 1e-6
    train, test = (normalize(torch.from_numpy((rows - mean) / std).float(), dim=1) for rows in (train_ND, test_MD))
    nearest = [float(value) for block in test.split(_BLOCK) for value in (block @ train.T).max(dim=1).values]
    return np.asarray(nearest) >= SIMILARITY
