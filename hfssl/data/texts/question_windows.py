"""Questions and the texts that answer them, cut into windows that overlap.

N questions, M windows, T tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from transformers import BatchEncoding, PreTrainedTokenizerBase

from hfssl.data.texts.encodings import Encodings, forget_cutting
from hfssl.objective import Array

NOT_TEXT = -1


class Windows(NamedTuple):
    """tokens: `input_ids` and the like, with `char_starts` and `char_ends`, where a token lies in the text, NOT_TEXT elsewhere.

    questions_M: the number of each window's question; targets_M2: first and last token of the answer, 0 and 0 in a window
    without it; num_cut: questions that were longer than half a window.
    """

    tokens: Encodings
    questions_M: Array
    targets_M2: Array
    num_cut: int


def windows_of(
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    contexts: Sequence[str],
    answers: Sequence[tuple[int, int] | None],
    *,
    max_length: int,
    shared: int,
) -> Windows:
    """Windows of `max_length` tokens, the question in each; neighbours share `shared` tokens of the text.

    Args:
        answers: characters of the text at which each answer begins and ends; None where there is none.
    """
    asked, num_cut = _cut(tokenizer, questions, max_length // 2)
    encoded = _encoded(tokenizer, asked, contexts, max_length=max_length, shared=shared)
    names = ["input_ids", *(["token_type_ids"] if "token_type_ids" in tokenizer.model_input_names else [])]
    columns: dict[str, list[Array]] = {name: [] for name in (*names, "char_starts", "char_ends")}
    targets = []
    for window, question in enumerate(encoded["overflow_to_sample_mapping"]):
        in_text_T = np.array([part == 1 for part in encoded.sequence_ids(window)], dtype=bool)
        offsets_T2 = np.array(encoded["offset_mapping"][window], dtype=np.int64).reshape(-1, 2)
        starts_T, ends_T = (np.where(in_text_T, offsets_T2[:, side], NOT_TEXT) for side in (0, 1))
        targets.append(_target(starts_T, ends_T, answers[question]))
        for name in names:
            columns[name].append(np.array(encoded[name][window]))
        columns["char_starts"].append(starts_T)
        columns["char_ends"].append(ends_T)
    lengths_M = np.array([len(ids) for ids in columns["input_ids"]])
    tokens = Encodings({name: np.concatenate(parts).astype(np.int32) for name, parts in columns.items()}, lengths_M)
    return Windows(tokens, np.array(encoded["overflow_to_sample_mapping"]), np.array(targets), num_cut)


def _encoded(
    tokenizer: PreTrainedTokenizerBase, questions: list[str], contexts: Sequence[str], *, max_length: int, shared: int
) -> BatchEncoding:
    encoded = tokenizer(
        questions,
        list(contexts),
        truncation="only_second",
        max_length=max_length,
        stride=shared,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        verbose=False,
    )
    forget_cutting(tokenizer)
    return encoded


def _cut(tokenizer: PreTrainedTokenizerBase, questions: Sequence[str], most: int) -> tuple[list[str], int]:
    """Questions of at most `most` tokens."""
    encoded = tokenizer(list(questions), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    kept, num_cut = [], 0
    for question, offsets in zip(questions, encoded["offset_mapping"], strict=True):
        is_long = len(offsets) > most
        num_cut += is_long
        kept.append(question[: offsets[most - 1][1]] if is_long else question)
    return kept, num_cut


def _target(starts_T: Array, ends_T: Array, answer: tuple[int, int] | None) -> tuple[int, int]:
    """First and last token that the answer touches, if the window holds all of it."""
    if answer is None:
        return 0, 0
    begin, end = answer
    touched = np.flatnonzero((starts_T != NOT_TEXT) & (starts_T < end) & (ends_T > begin))
    is_whole = len(touched) > 0 and starts_T[touched[0]] <= begin and ends_T[touched[-1]] >= end
    return (int(touched[0]), int(touched[-1])) if is_whole else (0, 0)
