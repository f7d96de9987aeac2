"""The closing table of an image run: what its features are worth beside an untrained encoder, raw pixels and PCA."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from hfssl.data.source import Source
from hfssl.evaluation.features import image_features, open_encoder
from hfssl.evaluation.images import FLOOR_SIDE, PCA_VARIANCE, Images, floors
from hfssl.evaluation.table import LARGEST_SPLIT, scores_of, spread_of
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
    encoders: Mapping[str, Path], train: Source, held_out: Source | None, num_channels: int, device: torch.device
) -> Encoded:
    """Raw pixels, their PCA, and the features of each exported encoder (name -> folder)."""
    train_images = Images(train, num_channels, LARGEST_SPLIT)
    test_images = None if held_out is None else Images(held_out, num_channels, LARGEST_SPLIT)
    if test_images is not None and not len(test_images):
        test_images = None
    named = floors(train_images, test_images)
    for name, folder in encoders.items():
        encoder = open_encoder(folder, device)
        test = None if test_images is None else image_features(encoder, test_images)
        named[name] = (image_features(encoder, train_images), test)
    return Encoded(train_images, test_images, named)


def image_table(encoded: Encoded, encoders: Collection[str], train: Source, held_out: Source | None) -> dict[str, Any]:
    """Scores of all kinds of features, as eval/*.json holds them; of `encoders` std and RankMe too.

    Without labels or a held-out split, std and RankMe alone.
    """
    train_images, test_images, named = encoded
    rows = []
    for name, (train_ND, test_MD) in named.items():
        row: dict[str, Any] = {"features": name, "width": train_ND.shape[1]}
        if not np.isfinite(train_ND).all():
            rows.append(row | {"warnings": ["features are not finite"]})
            continue
        labels = (train_images.labels, None if test_images is None else test_images.labels)
        if test_MD is not None and labels[0] is not None and labels[1] is not None:
            row |= scores_of(train_ND, labels[0], test_MD, labels[1])
        if name in encoders:
            row |= spread_of(train_ND)
        rows.append(row)
    return {
        "rows": rows,
        "data": train.name,
        "train_rows": len(train_images),
        "test_rows": 0 if test_images is None else len(test_images),
        "test_split": None if held_out is None else held_out.split,
        "test_rows_were_watched": held_out is not None and held_out is train.watched,
        "protocol": PROTOCOL,
    }
