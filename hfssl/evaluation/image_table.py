"""The closing table of an image run: what its features are worth beside an untrained encoder, raw pixels and PCA.

Protocol, the same for every table: kNN with k 20, temperature 0.07, cosine; linear probe on standardised features, C by
5-fold cross-validation inside the training rows; few labels as the mean and 95 % interval over 20 fixed draws. Test rows
are opened once, for scoring.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from hfssl.data.image_files import decode
from hfssl.data.source import Source
from hfssl.evaluation.features import image_features
from hfssl.evaluation.knn import NUM_NEIGHBOURS, TEMPERATURE, knn_predictions
from hfssl.evaluation.linear_probe import NUM_DRAWS, NUM_FOLDS, STRENGTHS, few_label_probe, linear_probe
from hfssl.nn.collapse import collapse_warnings, feature_std, rank_me
from hfssl.objective import BadRowError
from hfssl.randomness import DataOrder

Array = np.ndarray[Any, Any]
LARGEST_SPLIT = 2000
LABELS_A_CLASS = 10
_FLOOR_SIDE = 16
_PCA_VARIANCE = 0.95

PROTOCOL = {
    "knn": f"k {NUM_NEIGHBOURS}, temperature {TEMPERATURE}, cosine, votes weighted",
    "linear": f"StandardScaler + LogisticRegression, C of {STRENGTHS} by {NUM_FOLDS}-fold cross-validation in training rows",
    "few_labels": f"{LABELS_A_CLASS} labels a class, mean and 95 % interval of {NUM_DRAWS} fixed draws, else as linear",
    "raw pixels": f"pixels in [0, 1], longer than {_FLOOR_SIDE} px resized to {_FLOOR_SIDE} x {_FLOOR_SIDE}",
    "PCA": f"of the raw pixels, components that keep {_PCA_VARIANCE:.0%} of the variance",
    "rows": f"at most {LARGEST_SPLIT} of each split, the first of a fixed permutation",
}


class Images:
    """Decoded images of a split with their labels; rows that can not be decoded are left out."""

    def __init__(self, source: Source, num_channels: int) -> None:
        all_labels = source.labels()
        self.pixels: list[Tensor] = []
        kept = []
        _, order = DataOrder(len(source), seed=0).at(torch.arange(len(source)))
        for row in order[:LARGEST_SPLIT].tolist():
            try:
                self.pixels.append(decode(source.sample(row), num_channels))
            except BadRowError:
                continue
            kept.append(row)
        self.labels: Array | None = None if all_labels is None else all_labels[kept]


def image_table(
    encoders: Mapping[str, Path], train: Source, held_out: Source | None, num_channels: int, device: torch.device
) -> dict[str, Any]:
    """Scores of raw pixels, their PCA, and each exported encoder (name -> folder), as eval/*.json holds them.

    Without labels or a held-out split, feature std and RankMe alone.
    """
    train_images = Images(train, num_channels)
    test_images = None if held_out is None else Images(held_out, num_channels)
    pixels = _raw_pixels(train_images.pixels)
    reduction = PCA(_PCA_VARIANCE, random_state=0).fit(pixels)
    test_pixels = None if test_images is None else _raw_pixels(test_images.pixels)
    named: dict[str, tuple[Array, Array | None]] = {
        "raw pixels": (pixels, test_pixels),
        "PCA of pixels": (
            reduction.transform(pixels),
            None if test_pixels is None else reduction.transform(test_pixels),
        ),
    }
    for name, folder in encoders.items():
        test = None if test_images is None else image_features(folder, test_images.pixels, device)
        named[name] = (image_features(folder, train_images.pixels, device), test)
    rows = []
    for name, (train_ND, test_MD) in named.items():
        row = {"features": name, "width": train_ND.shape[1]}
        if test_MD is not None and test_images is not None and train_images.labels is not None:
            assert test_images.labels is not None
            row |= _scores(train_ND, train_images.labels, test_MD, test_images.labels)
        if name in encoders:
            features = torch.from_numpy(train_ND)
            row |= {"std": feature_std(features), "rank_me": rank_me(features), "warnings": collapse_warnings(features)}
        rows.append(row)
    return {
        "rows": rows,
        "data": train.name,
        "train_rows": len(train_images.pixels),
        "test_rows": 0 if test_images is None else len(test_images.pixels),
        "test_split": None if held_out is None else held_out.split,
        "protocol": PROTOCOL,
    }


def _scores(train_ND: Array, train_labels_N: Array, test_MD: Array, test_labels_M: Array) -> dict[str, Any]:
    """Whatever the labels allow: nothing for one class, no probe where a class has fewer rows than there are folds."""
    joined = np.unique(np.concatenate([train_labels_N, test_labels_M]), return_inverse=True)[1]
    train_labels_N, test_labels_M = joined[: len(train_labels_N)], joined[len(train_labels_N) :]
    class_sizes = np.unique(train_labels_N, return_counts=True)[1]
    if len(class_sizes) < 2:
        return {}
    predicted_M = knn_predictions(train_ND, train_labels_N, test_MD)
    scores: dict[str, Any] = {"knn": float((predicted_M == test_labels_M).mean())}
    if class_sizes.min() >= NUM_FOLDS:
        scores["linear"] = linear_probe(train_ND, train_labels_N, test_MD, test_labels_M)
    if class_sizes.min() >= LABELS_A_CLASS:
        few = few_label_probe(train_ND, train_labels_N, test_MD, test_labels_M, LABELS_A_CLASS)
        scores |= {"few_labels": few.mean, "few_labels_interval": few.interval}
        scores["num_labels"] = LABELS_A_CLASS * len(class_sizes)
    return scores


def _raw_pixels(images: list[Tensor]) -> Array:
    """(N, values) float32 in [0, 1]; one channel where all are equal."""
    sides = {tuple(image.shape[1:]) for image in images}
    if len(sides) > 1 or max(max(side) for side in sides) > _FLOOR_SIDE:
        images = [resize(image, [_FLOOR_SIDE, _FLOOR_SIDE], antialias=True) for image in images]
    stacked = torch.stack(images)
    if bool((stacked == stacked[:, :1]).all()):
        stacked = stacked[:, :1]
    pixels: Array = (stacked.flatten(1).float() / 255).numpy()
    return pixels


def table_lines(table: Mapping[str, Any]) -> list[str]:
    """The table for a terminal."""
    rows = table["rows"]
    labels = next((row["num_labels"] for row in rows if "num_labels" in row), None)
    header = ["features", "width", "kNN", "linear", f"{labels} labels" if labels else "few labels", "std", "RankMe"]
    body = [
        [_cell(row, name) for name in ("features", "width", "knn", "linear", "few_labels", "std", "rank_me")]
        for row in rows
    ]
    widths = [max(len(line[column]) for line in [header, *body]) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [header, *body]
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines + [warning for row in rows if row["features"] == "pretrained" for warning in row.get("warnings", [])]


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return "-"
    if name == "few_labels":
        return f"{value:.3f} ± {row['few_labels_interval']:.3f}"
    if name == "rank_me":
        return f"{value:.1f}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
