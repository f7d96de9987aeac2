"""The closing table of a text run: what its features are worth beside an untrained model and TF-IDF."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from hfssl.data.source import Source, fixed_rows
from hfssl.evaluation.linear_probe import DENSE, SPARSE
from hfssl.evaluation.table import LARGEST_SPLIT, scores_of, spread_of
from hfssl.evaluation.table import PROTOCOL as SHARED_PROTOCOL
from hfssl.evaluation.text_features import open_text_encoder, text_features

Array = np.ndarray[Any, Any]
FLOOR = "TF-IDF"
_MOST_WORDS = 5000

PROTOCOL = SHARED_PROTOCOL | {
    "features": "mean of the last hidden state over a document's tokens",
    FLOOR: f"sublinear, the {_MOST_WORDS} most frequent words; its linear probe is not standardised, C of {SPARSE.strengths}",
}


def text_table(
    encoders: Mapping[str, Path], train: Source, held_out: Source | None, device: torch.device
) -> dict[str, Any]:
    """Scores of TF-IDF and of each exported encoder (name -> folder), as eval/*.json holds them.

    Without labels or a held-out split, feature std and RankMe alone.
    """
    train_texts, train_labels = _rows(train)
    test_texts, test_labels = ([], None) if held_out is None else _rows(held_out)
    features = {FLOOR: _tfidf(train_texts, test_texts)}
    for name, folder in encoders.items():
        encoder = open_text_encoder(folder, device)
        test = text_features(encoder, test_texts) if test_texts else None
        features[name] = (text_features(encoder, train_texts), test)
    rows = []
    for name, (train_ND, test_MD) in features.items():
        row: dict[str, Any] = {"features": name, "width": train_ND.shape[1]}
        if test_MD is not None and train_labels is not None and test_labels is not None:
            row |= scores_of(train_ND, train_labels, test_MD, test_labels, SPARSE if name == FLOOR else DENSE)
        if name in encoders:
            row |= spread_of(train_ND)
        rows.append(row)
    return {
        "rows": rows,
        "data": train.name,
        "train_rows": len(train_texts),
        "test_rows": len(test_texts),
        "test_split": None if held_out is None else held_out.split,
        "protocol": PROTOCOL,
    }


def _rows(source: Source) -> tuple[list[str], Array | None]:
    """At most LARGEST_SPLIT documents and their labels."""
    chosen, labels = fixed_rows(len(source), LARGEST_SPLIT), source.labels()
    return [source.sample(int(row)) for row in chosen], None if labels is None else labels[chosen]


def _tfidf(train_texts: list[str], test_texts: list[str]) -> tuple[Array, Array | None]:
    vectorizer = TfidfVectorizer(sublinear_tf=True, max_features=_MOST_WORDS, dtype=np.float32)
    train_ND = vectorizer.fit_transform(train_texts).toarray()
    return train_ND, vectorizer.transform(test_texts).toarray() if test_texts else None
