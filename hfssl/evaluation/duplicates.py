"""Near-duplicates across splits: test rows that the training rows give away. N training rows, M test rows."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torchvision.transforms.v2.functional import resize, rgb_to_grayscale

from hfssl.objective import Array

SIMILARITY = 0.999
_HASH_SIDE = 8
_BLOCK = 1024


def difference_hash(image: Tensor) -> np.uint64:
    """64 bits of a (C, h, w) uint8 image: is each of 8 x 8 cells brighter than its right neighbour?

    It survives resizing and recompression (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions").
    """
    grey = rgb_to_grayscale(image) if image.shape[0] == 3 else image[:1]
    small = resize(grey, [_HASH_SIDE, _HASH_SIDE + 1], antialias=True)[0].to(torch.int16)
    bits = np.packbits((small[:, :-1] > small[:, 1:]).flatten().numpy())
    return np.uint64(bits.view(np.uint64)[0])


def same_samples(train_hashes_N: Array, test_hashes_M: Array) -> Array:
    """(M,) bool: a training sample has the same hash; 0, as of images without any contrast, does not count."""
    return np.isin(test_hashes_M, train_hashes_N) & (test_hashes_M != 0)


def same_features(train_ND: Array, test_MD: Array) -> Array:
    """(M,) bool: a training row's standardised features point the same way, at a cosine of at least SIMILARITY."""
    mean, std = train_ND.mean(axis=0), train_ND.std(axis=0) + 1e-6
    train, test = (normalize(torch.from_numpy((rows - mean) / std).float(), dim=1) for rows in (train_ND, test_MD))
    nearest = [float(value) for block in test.split(_BLOCK) for value in (block @ train.T).max(dim=1).values]
    return np.asarray(nearest) >= SIMILARITY
