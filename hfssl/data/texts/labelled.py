"""Texts, or pairs of them, with a class or a number each: where they are, and how they become batches.

N rows, B samples, T tokens.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import datasets
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from hfssl.data.columns import class_columns, is_text
from hfssl.data.labels import Labelled, class_counts, class_numbers, num_unnamed, refuse_missing
from hfssl.data.open_source import Labelling
from hfssl.data.source import Source
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.encodings import Encodings, encoded_batch, encoded_texts
from hfssl.data.texts.source import open_text_rows
from hfssl.distributed import is_main_process
from hfssl.errors import require
from hfssl.objective import Array, Batch, DataPipeline
from hfssl.randomness import sample_keys

_LABEL = "label"
_BLOCK = 4096
_MOST_CLASSES = 10  # that whole numbers stored as floats may stand for
Encoded = tuple[dict[str, Tensor], int | float]  # inputs (T,) of the model, and the class or the number
_TRIAL = ("one", "one two three two one two three")


class PairSettings(Protocol):
    """What a task on texts or pairs says of its columns."""

    @property
    def second_text_column(self) -> str | None: ...

    @property
    def problem(self) -> str: ...


def open_labelled_texts(data: TextDataConfig, method: PairSettings) -> Source:
    """The rows that the config names, with `method.second_text_column` where pairs are told apart; empty texts stay.

    Labels are the only column of classes, else the column `label`, unless --label_column names another.

    Raises:
        ConfigError: no such data, or columns that hold no texts.
    """
    second = method.second_text_column

    def texts(features: datasets.Features) -> list[str]:
        taken = {second, data.label_column, *([] if data.label_column else label_columns(features))}
        return [name for name, feature in features.items() if is_text(feature) and name not in taken]

    source = open_text_rows(data, texts, Labelling(label_columns, _num_missing))
    are_numbers = method.problem == "numbers" or (method.problem == "auto" and holds_floats(source))
    if source.label_column is not None and are_numbers:
        numbers_of(source)
    else:
        refuse_missing(source, num_unnamed(source))
    parts = [part for part in (source, source.validation, source.test) if part is not None]
    for part in parts:
        for flag, name in (("text_column", part.column), ("second_text_column", second)):
            if name is None:
                continue
            feature = part.all_rows.features.get(name)
            there_are = ", ".join(part.all_rows.features)
            require(feature is not None, f"--{flag} {name} is not in the split {part.split}; there are: {there_are}")
            require(is_text(feature), f"--{flag} {name} holds no texts but {type(feature).__name__}: choose another")
        require(second != part.column, f"--second_text_column {second} is the first one too: name another")
    return source


def label_columns(features: datasets.Features) -> list[str]:
    """Columns of classes, else the one named `label`."""
    return class_columns(features) or [name for name in features if name == _LABEL]


def holds_floats(source: Source) -> bool:
    """Whether the labels are floats, which are numbers to say and no classes."""
    feature = None if source.label_column is None else source.rows.features[source.label_column]
    return isinstance(feature, datasets.Value) and feature.dtype.startswith(("float", "double"))


def few_whole_numbers(source: Source) -> list[str] | None:
    """The labels in words where they are few whole numbers, which may as well be classes; None else."""
    values = set(source.rows[source.label_column][:]) - {None}
    if len(values) > _MOST_CLASSES or not all(float(value).is_integer() for value in values):
        return None
    return [str(int(value)) for value in sorted(values)]


def _num_missing(source: Source) -> int:
    return int(np.isnan(_numbers(source)).sum()) if holds_floats(source) else num_unnamed(source)


def _numbers(source: Source) -> Array:
    """(N,) float64, not a number where a row has none that is finite. Raises ConfigError where labels are no numbers."""
    values = source.rows[source.label_column][:]
    are_numbers = all(isinstance(value, (int, float)) for value in values if value is not None)
    require(are_numbers, f"the labels in {source.label_column} are no numbers: leave --problem numbers out")
    numbers_N = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return np.where(np.isfinite(numbers_N), numbers_N, np.nan)


def numbers_of(source: Source) -> Array:
    """(N,) float64, the number of each row.

    Raises:
        ConfigError: one is missing or not finite, or the labels are no numbers.
    """
    numbers_N = _numbers(source)
    refuse_missing(source, int(np.isnan(numbers_N).sum()), are="missing or not finite")
    return numbers_N


class LabelledTexts(DataPipeline):
    """`input_ids`, `attention_mask` and, where the tokenizer has them, `token_type_ids`, (B, T) int64 padded to the longest of
    the batch; `labels` (B,), int64 numbers of classes or float32 numbers.

    class_names: None where numbers are to be said; counts_C: training rows of each class, known after `prepare`.
    """

    def __init__(
        self,
        data: TextDataConfig,
        tokenizer: PreTrainedTokenizerFast,
        class_names: Sequence[str] | None,
        second_column: str | None = None,
    ) -> None:
        self.data = data
        self.processor: PreTrainedTokenizerFast = tokenizer
        self.class_names = None if class_names is None else list(class_names)
        self.second_column = second_column
        self.counts_C = np.zeros(len(class_names or ()), dtype=np.int64)

    @property
    def data_path(self) -> str:
        return "one text per row"

    @property
    def wants_workers(self) -> bool:
        return False

    def prepare(self, source: Source) -> Labelled:
        if self.class_names is None:
            numbers_N = numbers_of(source)
        else:
            numbers_N = class_numbers(source, self.class_names)
            self.counts_C = class_counts(numbers_N, len(self.class_names))
        encodings, found = encoded_texts(self.processor, self._blocks(source), self.data.max_length)
        if is_main_process():
            for line in found.lines(source.split):
                print(line, flush=True)
        return Labelled(encodings, numbers_N)

    def _blocks(self, source: Source) -> Iterator[tuple[list[str], list[str] | None]]:
        """Texts and, of pairs, second texts; an empty one where a row holds none."""
        first, rows = source.rows.with_format("arrow"), source.all_rows.with_format("arrow")
        for start in range(0, len(source), _BLOCK):
            block = slice(start, start + _BLOCK)
            texts = [text or "" for text in first[block][source.column].to_pylist()]
            second = None
            if self.second_column is not None:
                second = [text or "" for text in rows[block][self.second_column].to_pylist()]
            yield texts, second

    def transform(self, example: Encoded, key: Tensor) -> Encoded:
        return example

    def collate(self, examples: Sequence[Encoded], keys_B: Tensor) -> Batch:
        inputs, labels = zip(*examples, strict=True)
        return encoded_batch(inputs, self.processor.pad_token_id) | {"labels": torch.tensor(labels)}

    def eval_transform(self, examples: Sequence[Encoded], first: int = 0) -> Batch:
        ids_B = torch.arange(first, first + len(examples))
        keys_B = sample_keys(0, torch.full_like(ids_B, -1), ids_B)
        return self.collate(examples, keys_B) | {"sample_ids": ids_B, "keys": keys_B}

    def trial(self) -> Batch:
        """Two texts of unequal length."""
        second = None if self.second_column is None else list(_TRIAL)
        encodings: Encodings = encoded_texts(self.processor, [(list(_TRIAL), second)], self.data.max_length)[0]
        return self.eval_transform([(encodings[row], 0) for row in range(len(_TRIAL))])

    def shown(self, example: Encoded) -> str:
        """A sample for people: what the model read of it."""
        return str(self.processor.decode(example[0]["input_ids"], skip_special_tokens=self.second_column is None))
