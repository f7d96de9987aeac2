"""Sentences that come as words, read by the checkpoint's tokenizer, and the place of each word's first piece.

N sentences, T tokens, W words.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from hfssl.data.texts.encodings import Encodings, forget_cutting

NOWHERE = -1


class WordsFound(NamedTuple):
    """What there is to say of the words of a split.

    num_cut: those behind the last token that fits; num_lost: others of which the tokenizer keeps nothing; num_empty: sentences
    without a word.
    """

    num_words: int
    num_cut: int
    num_lost: int
    num_empty: int
    max_length: int

    def lines(self, split: str) -> list[str]:
        lines = []
        if self.num_cut:
            beyond = f"lie beyond {self.max_length} tokens"
            lines.append(
                f"{self.num_cut} of {self.num_words} words of {split} {beyond}: not trained on, and scored as O"
            )
        if self.num_lost:
            lines.append(
                f"{self.num_lost} of {self.num_words} words of {split} have no token: not trained on, and scored as O"
            )
        if self.num_empty:
            lines.append(f"{self.num_empty} sentences of {split} have no words")
        return lines


def for_single_words(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """`tokenizer` itself; a byte-level one then reads each word as if a space stood before it, as inside a text."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    before = backend["pre_tokenizer"]
    if before is None:
        return tokenizer
    levels = [part for part in before.get("pretokenizers", [before]) if part["type"] == "ByteLevel"]
    if not levels:
        return tokenizer
    levels[0]["add_prefix_space"] = True
    tokenizer.backend_tokenizer.pre_tokenizer = Tokenizer.from_str(json.dumps(backend)).pre_tokenizer
    tokenizer.add_prefix_space = True  # what a tokenizer of a class of its own is rebuilt with
    tokenizer.init_kwargs["add_prefix_space"] = True
    return tokenizer


def encoded_words(
    tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sequence[str]], max_length: int
) -> tuple[Encodings, Encodings, WordsFound]:
    """(tokens, `places` of the words' first pieces among them, NOWHERE for those that have none, what there is to say)."""
    names = ["input_ids", *(["token_type_ids"] if "token_type_ids" in tokenizer.model_input_names else [])]
    rows = [list(words) for words in sentences]
    encoded = tokenizer(rows, is_split_into_words=True, truncation=True, max_length=max_length, verbose=False)
    forget_cutting(tokenizer)
    columns: dict[str, list[list[int]]] = {name: [] for name in names}
    places: list[list[int]] = []
    num_cut = num_lost = 0
    for row, words in enumerate(rows):
        own = [NOWHERE] * len(words)
        for place, word in reversed(list(enumerate(encoded.word_ids(row)))):
            if word is not None:
                own[word] = place
        seen = [word for word, place in enumerate(own) if place != NOWHERE]
        is_full = len(encoded["input_ids"][row]) >= max_length
        last = seen[-1] if seen and is_full else len(own) - 1
        num_cut += len(own) - 1 - last
        num_lost += own[: last + 1].count(NOWHERE)
        places.append(own)
        for name in names:
            filler = tokenizer.pad_token_id if name == "input_ids" else 0
            columns[name].append(encoded[name][row] or [filler])
    found = WordsFound(sum(map(len, rows)), num_cut, num_lost, sum(not words for words in rows), max_length)
    return _flat(columns), _flat({"places": places}), found


def _flat(columns: dict[str, list[list[int]]]) -> Encodings:
    lengths = np.array([len(values) for values in next(iter(columns.values()))])
    joined = {
        name: np.array([value for values in rows for value in values], dtype=np.int32) for name, rows in columns.items()
    }
    return Encodings(joined, lengths)
