"""The closing table of an audio run: what its features are worth beside an untrained model and log-mel statistics."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hfssl.data.source import Source
from hfssl.evaluation.audio_features import layer_features, open_audio_encoder
from hfssl.evaluation.clips import FLOOR, LONGEST_SECONDS, NUM_MELS, Clips, log_mel_statistics
from hfssl.evaluation.layers import layer_probes, sentence
from hfssl.evaluation.table import LARGEST_SPLIT, Side, results_table
from hfssl.evaluation.table import PROTOCOL as SHARED_PROTOCOL

PROTOCOL = SHARED_PROTOCOL | {
    "features": f"mean of the last hidden state over a recording's frames, of its first {LONGEST_SECONDS:g} s",
    FLOOR: f"mean and standard deviation over time of {NUM_MELS} log-mel bands",
    "layers": "linear probe of each hidden state, pooled alike; their weighted sum: softmax weights learnt with the classifier",
}


def audio_table(encoders: Mapping[str, Path], source: Source, device: torch.device) -> dict[str, Any]:
    """The closing table of log-mel statistics and of each exported encoder (name -> folder) on the rows of `source`; under
    `layers` the probes of the last one's layers, where labels allow them."""
    opened = {name: open_audio_encoder(folder, device) for name, folder in encoders.items()}
    rate = next(iter(opened.values())).sampling_rate
    train = Clips(source, rate, LARGEST_SPLIT)
    test = None if source.test is None else Clips(source.test, rate, LARGEST_SPLIT)
    sides = [train] if test is None else [train, test]
    features = {FLOOR: _pair([log_mel_statistics(side) for side in sides])}
    layers: list[Any] = []
    for name, encoder in opened.items():
        layers = [layer_features(encoder, side) for side in sides]
        features[name] = _pair([part[:, -1] for part in layers])
    counted = (
        Side(len(train), train.labels),
        Side(0 if test is None else len(test), None if test is None else test.labels),
    )
    table = results_table(features, counted, encoders=encoders, probes={}, source=source) | {"protocol": PROTOCOL}
    if "linear" in table["rows"][-1] and test is not None and all(np.isfinite(part).all() for part in layers):
        assert train.labels is not None
        assert test.labels is not None
        found = layer_probes(layers[0], train.labels, layers[1], test.labels)
        table |= {"layers": found, "notes": [sentence(found)]}
    return table


def _pair(parts: list[Any]) -> tuple[Any, Any | None]:
    return parts[0], parts[1] if len(parts) > 1 else None
