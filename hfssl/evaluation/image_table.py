"""The closing table of an image run: what its features are worth beside an untrained encoder, raw pixels and PCA."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from hfssl.data.source import Source
from hfssl.evaluation.features import image_features, open_encoder
from hfssl.evaluation.images import FLOOR_SIDE, PCA_VARIANCE, Images, baselines
from hfssl.evaluation.table import LARGEST_SPLIT, Side, results_table
from hfssl.evaluation.table import PROTOCOL as SHARED_PROTOCOL

Array = np.ndarray[Any, Any]
PROTOCOL = SHARED_PROTOCOL | {
    "raw pixels": f"pixels in [0, 1], longer than {FLOOR_SIDE} px resized to {FLOOR_SIDE} x {FLOOR_SIDE}",
    "PCA": f"of the raw pixels, components that keep {PCA_VARIANCE:.0%} of the variance",
}


class Encoded(NamedTuple):
    """Images of both sides and, for each kind of features, their (training, test) matrices; test is None without images."""

    train: Images
    test: Images | None
    features: dict[str, tuple[Array, Array | None]]


def encoded_images(
    encoders: Mapping[str, Path], train: Source, test: Source | None, num_channels: int, device: torch.device
) -> Encoded:
    """Raw pixels, their PCA, and the features of each exported encoder (name -> folder)."""
    train_images = Images(train, num_channels, LARGEST_SPLIT)
    test_images = None if test is None else Images(test, num_channels, LARGEST_SPLIT)
    if test_images is not None and not len(test_images):
        test_images = None
    named = baselines(train_images, test_images)
    for name, folder in encoders.items():
        encoder = open_encoder(folder, device)
        of_test = None if test_images is None else image_features(encoder, test_images)
        named[name] = (image_features(encoder, train_images), of_test)
    return Encoded(train_images, test_images, named)


def image_table(encoded: Encoded, encoders: Collection[str], source: Source) -> dict[str, Any]:
    """The closing table of what `encoded_images` gave for `source`."""
    train, test, features = encoded
    sides = Side(len(train), train.labels), Side(0, None) if test is None else Side(len(test), test.labels)
    return results_table(features, sides, encoders=encoders, probes={}, source=source) | {"protocol": PROTOCOL}
