"""The results table at the end of a run: features of its encoders and of baselines that need no model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import numpy as np
import torch
from scipy.sparse import issparse

from hfssl.data.source import Source
from hfssl.evaluation.feature_scores import LARGEST_SPLIT, scores_of, spread_of
from hfssl.evaluation.modality import Encoder, Features, Modality, Samples, last_layer
from hfssl.objective import Array
from hfssl.run_dir import Json


@dataclass(frozen=True)
class EncodedRows(Generic[Encoder, Samples]):
    """Rows of a source with every kind of features of them.

    train, test: their samples; test is None where there is none.
    features: by name, those without a model first; encoders: name -> what `Modality.encode` gave for each side.
    """

    modality: Modality[Encoder, Samples]
    source: Source
    train: Samples
    test: Samples | None
    features: dict[str, Features]
    encoders: dict[str, list[Array]]


def encoded_rows(
    modality: Modality[Encoder, Samples], encoders: Mapping[str, Path], source: Source, device: torch.device
) -> EncodedRows[Encoder, Samples]:
    """The rows of `source` as each exported encoder (name -> folder) sees them, and as baselines do."""
    opened = {name: modality.open_encoder(folder, device) for name, folder in encoders.items()}
    first = next(iter(opened.values()))
    train = modality.samples_of(source, first, LARGEST_SPLIT)
    test = None if source.test is None else modality.samples_of(source.test, first, LARGEST_SPLIT)
    if test is not None and not len(test):
        test = None
    features = modality.baselines(train, test)
    found: dict[str, list[Array]] = {}
    for name, encoder in opened.items():
        sides = [train] if test is None else [train, test]
        found[name] = [modality.encode(encoder, side, modality.batch_size) for side in sides]
        features[name] = Features(last_layer(found[name][0]), None if test is None else last_layer(found[name][1]))
    return EncodedRows(modality, source, train, test, features, found)


def results_table(rows: EncodedRows[Any, Any]) -> Json:
    """Scores of all kinds of features, as eval/summary.json holds them; of encoders std and RankMe too.

    Without labels or test rows, only std and RankMe. Figures of layers are those of the last encoder.
    """
    train, test, scored = rows.train, rows.test, rows.source.test
    table: Json = {
        "rows": [_row(rows, name) for name in rows.features],
        "data": rows.source.name,
        "train_rows": len(train),
        "test_rows": 0 if test is None else len(test),
        "test_split": None if scored is None else scored.split,
        "test_rows_were_watched": scored is not None and scored is rows.source.validation,
        "protocol": dict(rows.modality.protocol),
    }
    last = list(rows.encoders.values())[-1]
    if test is not None and "linear" in table["rows"][-1] and all(np.isfinite(part).all() for part in last):
        assert train.labels is not None
        assert test.labels is not None
        further = rows.modality.layer_figures((last[0], last[1]), (train.labels, test.labels))
        if further.figures:
            table |= further.figures | {"notes": further.notes}
    return table


def _row(rows: EncodedRows[Any, Any], name: str) -> Json:
    train_ND, test_MD, probe = rows.features[name]
    row: Json = {"features": name, "width": train_ND.shape[1]}
    if not np.isfinite(train_ND.data if issparse(train_ND) else train_ND).all():
        return row | {"warnings": ["features are not finite"]}
    if rows.test is not None and rows.train.labels is not None and rows.test.labels is not None:
        row |= scores_of(train_ND, rows.train.labels, test_MD, rows.test.labels, probe)
    return row | (spread_of(train_ND) if name in rows.encoders else {})
