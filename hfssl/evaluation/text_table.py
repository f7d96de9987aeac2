"""The closing table of a text run: what its features are worth beside an untrained model and TF-IDF."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hfssl.data.source import Source
from hfssl.evaluation.linear_probe import SPARSE
from hfssl.evaluation.table import LARGEST_SPLIT, Side, results_table
from hfssl.evaluation.table import PROTOCOL as SHARED_PROTOCOL
from hfssl.evaluation.text_features import open_text_encoder, text_features
from hfssl.evaluation.texts import FLOOR, MOST_WORDS, Texts, tfidf

PROTOCOL = SHARED_PROTOCOL | {
    "features": "mean of the last hidden state over a document's tokens",
    FLOOR: f"sublinear, the {MOST_WORDS} most frequent words; its linear probe is not standardised, C of {SPARSE.strengths}",
}


def text_table(encoders: Mapping[str, Path], source: Source, device: torch.device) -> dict[str, Any]:
    """The closing table of TF-IDF and of each exported encoder (name -> folder) on the rows of `source`."""
    train = Texts(source, LARGEST_SPLIT)
    test = None if source.test is None else Texts(source.test, LARGEST_SPLIT)
    test_texts = [] if test is None else test.texts
    features = {FLOOR: tfidf(train.texts, test_texts)}
    for name, folder in encoders.items():
        encoder = open_text_encoder(folder, device)
        features[name] = (
            text_features(encoder, train.texts),
            text_features(encoder, test_texts) if test_texts else None,
        )
    sides = Side(len(train), train.labels), Side(len(test_texts), None if test is None else test.labels)
    table = results_table(features, sides, encoders=encoders, probes={FLOOR: SPARSE}, source=source)
    return table | {"protocol": PROTOCOL}
