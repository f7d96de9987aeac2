"""Texts as the checkpoint's tokenizer reads them, in memory, and batches that are as long as their longest text.

N texts, B samples, T tokens.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from hfssl.objective import Array, Batch

_COLUMNS = {"input_ids": np.int32, "token_type_ids": np.uint8}


class Found(NamedTuple):
    """What there is to say of N texts: how many are longer than `max_length` tokens, and how many hold nothing."""

    num_texts: int
    num_cut: int
    num_empty: int
    max_length: int

    def lines(self, split: str) -> list[str]:
        lines = []
        if self.num_cut:
            lines.append(
                f"{self.num_cut} of {self.num_texts} texts of {split} are longer than {self.max_length} tokens and are cut there"
            )
        if self.num_empty:
            lines.append(
                f"{self.num_empty} of {self.num_texts} texts of {split} are empty: the model reads special tokens only"
            )
        return lines


class Encodings:
    """What the model reads of each text, one text after the other in a flat array for each input."""

    def __init__(self, columns: dict[str, Array], lengths_N: Array) -> None:
        self._columns = columns
        self._offsets = np.concatenate([[0], np.cumsum(lengths_N)])

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """(T,) int64 each, unpadded."""
        inside = slice(self._offsets[index], self._offsets[index + 1])
        return {name: torch.from_numpy(column[inside].astype(np.int64)) for name, column in self._columns.items()}


def with_pad_token(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """`tokenizer` itself; one without padding, as GPT-2's, pads with its end of text."""
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def forget_cutting(tokenizer: PreTrainedTokenizerBase) -> None:
    """A fast tokenizer remembers how its last texts were cut and would be saved so, whichever texts these were."""
    if isinstance(tokenizer, PreTrainedTokenizerFast):
        tokenizer.backend_tokenizer.no_truncation()


def encoded_texts(
    tokenizer: PreTrainedTokenizerBase, blocks: Iterable[tuple[list[str], list[str] | None]], max_length: int
) -> tuple[Encodings, Found]:
    """Texts, or pairs, between the tokenizer's special tokens; of a pair that is too long the longer part is cut first.

    A text of no token at all, where the tokenizer adds none, is one padding token.
    """
    names = [name for name in _COLUMNS if name in ("input_ids", *tokenizer.model_input_names)]
    parts: dict[str, list[Array]] = {name: [] for name in names}
    lengths: list[int] = []
    num_cut = num_empty = 0
    for first, second in blocks:
        encoded = tokenizer(first, second, truncation=False, verbose=False)
        cut = [row for row, ids in enumerate(encoded["input_ids"]) if len(ids) > max_length]
        columns = {name: list(encoded[name]) for name in names}
        if cut:
            seconds = None if second is None else [second[row] for row in cut]
            again = tokenizer([first[row] for row in cut], seconds, truncation=True, max_length=max_length)
            for place, row in enumerate(cut):
                for name in names:
                    columns[name][row] = again[name][place]
        for name, filler in zip(names, (tokenizer.pad_token_id, 0), strict=False):
            filled = [values or [filler] for values in columns[name]]
            parts[name].append(np.fromiter((value for values in filled for value in values), dtype=_COLUMNS[name]))
        lengths += [max(1, len(ids)) for ids in columns["input_ids"]]
        num_cut += len(cut)
        num_empty += sum(
            not (text.strip() or (second is not None and second[row].strip())) for row, text in enumerate(first)
        )
    forget_cutting(tokenizer)
    joined = {name: np.concatenate(columns) for name, columns in parts.items()}
    return Encodings(joined, np.array(lengths)), Found(len(lengths), num_cut, num_empty, max_length)


def encoded_batch(inputs: Sequence[dict[str, Tensor]], pad_id: int) -> Batch:
    """Each input padded behind its end to the longest, (B, T) int64, with `attention_mask` (B, T) int64."""
    lengths = [len(one["input_ids"]) for one in inputs]
    place_T = torch.arange(max(lengths))
    batch = {"attention_mask": (place_T < torch.tensor(lengths)[:, None]).long()}
    for name in inputs[0]:
        filled = torch.full((len(inputs), max(lengths)), pad_id if name == "input_ids" else 0)
        for row, one in enumerate(inputs):
            filled[row, : lengths[row]] = one[name]
        batch[name] = filled
    return batch
