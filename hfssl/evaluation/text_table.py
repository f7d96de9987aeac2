"""The closing table of a text run: what its features are worth beside an untrained model and TF-IDF."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from hfssl.data.source import Source, fixed_rows
from hfssl.evaluation.linear_probe import SPARSE
from hfssl.evaluation.table import LARGEST_SPLIT, Side, closing_table
from hfssl.evaluation.table import PROTOCOL as SHARED_PROTOCOL
from hfssl.evaluation.text_features import open_text_encoder, text_features

Array = np.ndarray[Any, Any]
FLOOR = "TF-IDF"
_MOST_WORDS = 5000

PROTOCOL = SHARED_PROTOCOL | {
    "features": "mean of the last hidden state over a document's tokens",
    FLOOR: f"sublinear, the {_MOST_WORDS} most frequent words; its linear probe is not standardised, C of {SPARSE.strengths}",
}


def text_table(encoders: Mapping[str, Path], source: Source, device: torch.device) -> dict[str, Any]:
    """The closing table of TF-IDF and of each exported encoder (name -> folder) on the rows of `source`."""
    train_texts, train_labels = _rows(source)
    test_texts, test_labels = ([], None) if source.held_out is None else _rows(source.held_out)
    features = {FLOOR: _tfidf(train_texts, test_texts)}
    for name, folder in encoders.items():
        encoder = open_text_encoder(folder, device)
        test = text_features(encoder, test_texts) if test_texts else None
        features[name] = (text_features(encoder, train_texts), test)
    sides = Side(len(train_texts), train_labels), Side(len(test_texts), test_labels)
    table = closing_table(features, sides, encoders=encoders, probes={FLOOR: SPARSE}, source=source)
    return table | {"protocol": PROTOCOL}


def _rows(source: Source) -> tuple[list[str], Array | None]:
    """At most LARGEST_SPLIT documents and their labels."""
    chosen, labels = fixed_rows(len(source), LARGEST_SPLIT), source.labels()
    return [source.sample(int(row)) for row in chosen], None if labels is None else labels[chosen]


def _tfidf(train_texts: list[str], test_texts: list[str]) -> tuple[Array, Array | None]:
    vectorizer = TfidfVectorizer(sublinear_tf=True, max_features=_MOST_WORDS, dtype=np.float32)
    train_ND = vectorizer.fit_transform(train_texts).toarray()
    return train_ND, vectorizer.transform(test_texts).toarray() if test_texts else None
