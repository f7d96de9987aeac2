"""Texts on their way to a model: tokenized once, packed into rows once, batches with every draw keyed by the row.

B rows, T tokens, N documents.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from hfssl.data.source import Source
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.packing import PackingPlan, packing_plan
from hfssl.data.texts.token_cache import CachedTokens, tokens_of
from hfssl.objective import Array, Batch, DataPipeline
from hfssl.randomness import sample_keys


class TextRow(NamedTuple):
    """One row, unpadded; all (T,).

    segments: 1, 2, ... for the documents in it. maskable: an ordinary token; word_starts: the first one of a word.
    """

    input_ids: Tensor
    segments: Tensor
    maskable: Tensor
    word_starts: Tensor


class TextBatch(NamedTuple):
    """Rows padded to one length; segments are 0 on padding."""

    input_ids_BT: Tensor
    segments_BT: Tensor
    maskable_BT: Tensor
    word_starts_BT: Tensor


MOST_UNKNOWN = 0.05
Piece = tuple[int, int, int]  # document, start, length
Draw = Callable[[Tensor, TextBatch], dict[str, Tensor]]


class Frame(NamedTuple):
    """Special tokens around a document: as the tokenizer adds them, or for causal models its end only."""

    before: list[int]
    after: list[int]

    def __len__(self) -> int:
        return len(self.before) + len(self.after)


def frame_of(tokenizer: PreTrainedTokenizerFast, *, is_causal: bool) -> Frame:
    """What the tokenizer puts before and after a text; a causal one always ends it."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next(index for index in range(len(whole)) if whole[index : index + len(bare)] == bare)
    before, after = whole[:start], whole[start + len(bare) :]
    return Frame(before, [tokenizer.eos_token_id]) if is_causal else Frame(before, after)


class Documents:
    """Each document alone in its row, cut off after `max_length` tokens: for features."""

    def __init__(self, tokens: CachedTokens, frame: Frame, max_length: int) -> None:
        self.tokens = tokens
        self._frame = frame
        self._room = max_length - len(frame)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> TextRow:
        length = min(self._room, len(self.tokens[index]))
        return framed(self.tokens, [(index, 0, length)], self._frame)


class PackedRows:
    """Rows of a plan: pieces of documents, each framed on its own."""

    def __init__(self, tokens: CachedTokens, plan: PackingPlan, frame: Frame) -> None:
        self.tokens = tokens
        self._plan = plan
        self._frame = frame

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> TextRow:
        return framed(self.tokens, self._pieces(index), self._frame)

    def _pieces(self, index: int) -> list[Piece]:
        return list(zip(*(column.tolist() for column in self._plan.row(index)), strict=True))


class ConcatenatedRows(PackedRows):
    """Rows for causal models: a document and its frame are one run of tokens, of which a row holds a piece."""

    def __getitem__(self, index: int) -> TextRow:
        return joined([self._piece(*piece) for piece in self._pieces(index)])

    def _piece(self, document: int, start: int, length: int) -> tuple[Array, ...]:
        before, after = self._frame
        run = np.concatenate([before, self.tokens[document], after]).astype(np.int64)[start : start + length]
        return run, np.ones(length, dtype=bool), np.zeros(length, dtype=bool)


def framed(tokens: CachedTokens, pieces: Sequence[Piece], frame: Frame) -> TextRow:
    """Each piece between its special tokens."""
    before, after = frame
    parts = []
    for document, start, length in pieces:
        inside = slice(start, start + length)
        ids = np.concatenate([before, tokens[document][inside], after]).astype(np.int64)
        maskable = np.zeros(len(ids), dtype=bool)
        maskable[len(before) : len(before) + length] = True
        starts = np.zeros(len(ids), dtype=bool)
        starts[len(before) : len(before) + length] = tokens.starts_of(document)[inside]
        starts[len(before)] = True  # a word that was cut in two is two
        parts.append((ids, maskable, starts))
    return joined(parts)


def joined(parts: "Sequence[tuple[Array, ...]]") -> TextRow:
    """Pieces one after the other, numbered from 1."""
    ids, maskable, starts = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    segments = np.repeat(np.arange(1, len(parts) + 1), [len(part[0]) for part in parts])
    return TextRow(*(torch.from_numpy(column) for column in (ids, segments, maskable, starts)))


def _warnings_of(tokens: CachedTokens, tokenizer: PreTrainedTokenizerFast) -> tuple[str, ...]:
    share = 0.0 if tokenizer.unk_token_id is None else tokens.share_of(tokenizer.unk_token_id)
    if share <= MOST_UNKNOWN:
        return ()
    return (
        f"{share:.0%} of the tokens are {tokenizer.unk_token}: the tokenizer does not know these texts; take another one, or "
        "train one with --train_tokenizer unigram or bpe, which need no spaces between words",
    )


class TextPipeline(DataPipeline):
    """`draw` adds what the method hides or predicts."""

    def __init__(
        self, data: TextDataConfig, tokenizer: PreTrainedTokenizerFast, *, is_causal: bool, draw: Draw
    ) -> None:
        self.data = data
        self.processor: PreTrainedTokenizerFast = tokenizer
        self._is_causal = is_causal
        self._draw = draw
        self._frame = frame_of(tokenizer, is_causal=is_causal)
        self._pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    @property
    def is_packed(self) -> bool:
        return not self.data.no_packing

    @property
    def data_path(self) -> str:
        return "packed" if self.is_packed else "one document a row"

    @property
    def wants_workers(self) -> bool:
        return False

    def prepare(self, source: Source) -> PackedRows:
        tokens = tokens_of(source, self.processor)
        self.warnings = _warnings_of(tokens, self.processor)
        kind = ConcatenatedRows if self._is_causal else PackedRows
        extra = len(self._frame)
        plan = packing_plan(
            tokens,
            capacity=self.data.max_length,
            per_piece=0 if self._is_causal else extra,
            per_document=extra if self._is_causal else 0,
            packed=self.is_packed,
        )
        return kind(tokens, plan, self._frame)

    def whole_examples(self, source: Source) -> Documents:
        return Documents(tokens_of(source, self.processor), self._features_frame(), self.data.max_length)

    def _features_frame(self) -> Frame:
        """As a plain call of the tokenizer frames a text."""
        return frame_of(self.processor, is_causal=False)

    def transform(self, example: TextRow, key: Tensor) -> TextRow:
        return example

    def collate(self, examples: Sequence[TextRow], keys_B: Tensor) -> Batch:
        rows = padded(examples, self.data.max_length, self._pad_id)
        return {"segments": rows.segments_BT} | self._draw(keys_B, rows)

    def eval_transform(self, examples: Sequence[TextRow], first: int = 0) -> Batch:
        ids_B = torch.arange(first, first + len(examples))
        keys_B = sample_keys(0, torch.full_like(ids_B, -1), ids_B)
        rows = padded(examples, max(len(example.input_ids) for example in examples), self._pad_id)
        seen_BT = (rows.segments_BT > 0).long()
        whole = {"input_ids": rows.input_ids_BT, "attention_mask": seen_BT, "segments": rows.segments_BT}
        return whole | {"sample_ids": ids_B, "keys": keys_B}


def padded(examples: Sequence[TextRow], length: int, pad_id: int) -> TextBatch:
    """(B, length) tensors; padding is no document, not maskable, and starts no word."""
    ids_BT = torch.full((len(examples), length), pad_id, dtype=torch.int64)
    segments_BT = torch.zeros_like(ids_BT)
    maskable_BT, starts_BT = torch.zeros(2, len(examples), length, dtype=torch.bool)
    for row, example in enumerate(examples):
        end = len(example.input_ids)
        ids_BT[row, :end], segments_BT[row, :end] = example.input_ids, example.segments
        maskable_BT[row, :end], starts_BT[row, :end] = example.maskable, example.word_starts
    return TextBatch(ids_BT, segments_BT, maskable_BT, starts_BT)
