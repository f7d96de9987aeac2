"""Texts of a split with their labels, and the floor that needs no model: TF-IDF."""

import copy
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from hfssl.data.source import Source, fixed_rows
from hfssl.objective import Array

FLOOR = "TF-IDF"
MOST_WORDS = 20_000
_BETWEEN_BLANKS = r"\S+"


class Texts:
    """At most `most` documents of a source, the first of a fixed permutation.

    rows: their numbers in the source; labels: as they are stored, or None; hashes: (N,) uint64, equal for texts that differ
    in case and blanks only.
    """

    num_bad = 0  # a source of texts holds no empty or unreadable ones

    def __init__(self, source: Source, most: int | None = None) -> None:
        self.rows: list[int] = fixed_rows(len(source), most or len(source)).tolist()
        self.texts: list[str] = source.rows.select(self.rows)[source.column][:]
        all_labels = source.labels()
        self.labels: Array | None = None if all_labels is None else all_labels[self.rows]
        self.hashes: Array = np.array([_hash_of(text) for text in self.texts], dtype=np.uint64)

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, chosen: Array) -> "Texts":
        """The texts where the (N,) bool mask is true."""
        part = copy.copy(self)
        for name in ("rows", "texts"):
            setattr(part, name, [item for item, taken in zip(getattr(self, name), chosen, strict=True) if taken])
        part.labels = None if self.labels is None else self.labels[chosen]
        part.hashes = self.hashes[chosen]
        return part


def _hash_of(text: str) -> np.uint64:
    words = " ".join(text.casefold().split())
    return np.frombuffer(hashlib.blake2b(words.encode(), digest_size=8).digest(), dtype=np.uint64)[0]


def tfidf(train: Sequence[str], test: Sequence[str]) -> tuple[Any, Any | None]:
    """Sparse float32 (N, words) and (M, words), or None without test texts: weights of the training texts' words.

    Words have two letters or more. Where most texts have none, as protein sequences, whatever stands between blanks is a word.
    """
    vectorizer = TfidfVectorizer(sublinear_tf=True, max_features=MOST_WORDS, dtype=np.float32)
    is_word = vectorizer.build_tokenizer()
    if sum(not is_word(text) for text in train) > len(train) / 2:
        vectorizer.set_params(token_pattern=_BETWEEN_BLANKS)
    train_NW = vectorizer.fit_transform(train)
    return train_NW, vectorizer.transform(test) if len(test) else None
