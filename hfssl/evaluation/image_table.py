"""The closing table of an image run: what its features are worth beside an untrained encoder, raw pixels and PCA.

Protocol, the same for every table: kNN with k 20, temperature 0.07, cosine; linear probe on standardised features, C by
5-fold cross-validation inside the training rows; few labels as the mean and 95 % interval over 20 fixed draws. Test rows
are opened once, for scoring.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from hfssl.data.source import Source
from hfssl.evaluation.features import image_features, open_encoder
from hfssl.evaluation.images import FLOOR_SIDE, PCA_VARIANCE, Images, floors
from hfssl.evaluation.knn import NUM_NEIGHBOURS, TEMPERATURE, knn_predictions
from hfssl.evaluation.linear_probe import (
    MOST_ITERATIONS,
    NUM_DRAWS,
    NUM_FOLDS,
    STRENGTHS,
    few_label_probe,
    linear_probe,
)
from hfssl.nn.collapse import collapse_warnings, feature_std, rank_me

Array = np.ndarray[Any, Any]
LARGEST_SPLIT = 2000
LABELS_A_CLASS = 10

PROTOCOL = {
    "knn": f"k {NUM_NEIGHBOURS}, temperature {TEMPERATURE}, cosine, votes weighted",
    "linear": f"StandardScaler + LogisticRegression, at most {MOST_ITERATIONS} iterations, C of {STRENGTHS} by "
    f"{NUM_FOLDS}-fold cross-validation in training rows",
    "few_labels": f"{LABELS_A_CLASS} labels a class, mean and 95 % interval of {NUM_DRAWS} fixed draws, else as linear",
    "raw pixels": f"pixels in [0, 1], longer than {FLOOR_SIDE} px resized to {FLOOR_SIDE} x {FLOOR_SIDE}",
    "PCA": f"of the raw pixels, components that keep {PCA_VARIANCE:.0%} of the variance",
    "rows": f"at most {LARGEST_SPLIT} of each split, the first of a fixed permutation",
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
        row = {"features": name, "width": train_ND.shape[1]}
        labels = (train_images.labels, None if test_images is None else test_images.labels)
        if test_MD is not None and labels[0] is not None and labels[1] is not None:
            row |= scores_of(train_ND, labels[0], test_MD, labels[1])
        if name in encoders:
            features = torch.from_numpy(train_ND)
            row |= {"std": feature_std(features), "rank_me": rank_me(features), "warnings": collapse_warnings(features)}
        rows.append(row)
    return {
        "rows": rows,
        "data": train.name,
        "train_rows": len(train_images),
        "test_rows": 0 if test_images is None else len(test_images),
        "test_split": None if held_out is None else held_out.split,
        "protocol": PROTOCOL,
    }


def scores_of(train_ND: Array, train_labels_N: Array, test_MD: Array, test_labels_M: Array) -> dict[str, Any]:
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
