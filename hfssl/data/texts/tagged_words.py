"""Sentences as words with a tag each: where they are, their tags in IOB2, and how they become batches.

N sentences, B samples, T tokens, W words.
"""

from collections import Counter
from collections.abc import Sequence

import datasets
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from hfssl.data.columns import is_text
from hfssl.data.labels import class_counts, refuse_missing, refuse_unseen
from hfssl.data.open_source import Labelling
from hfssl.data.source import Source
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.encodings import encoded_batch
from hfssl.data.texts.source import open_text_rows
from hfssl.data.texts.word_encodings import encoded_words
from hfssl.distributed import is_main_process
from hfssl.errors import require
from hfssl.objective import Batch, DataPipeline, Examples
from hfssl.randomness import sample_keys

IGNORED = -100
_NAMES = ("tags", "ner_tags", "labels")
_OUTSIDE = "O"


def open_tagged_words(data: TextDataConfig, method: object) -> Source:
    """The rows that the config names: a column of words, and one of as many tags.

    Tags are the only column of lists of classes, else a column named tags, ner_tags or labels, unless --label_column names
    another.

    Raises:
        ConfigError: no such data or columns, or splits whose tags are numbered in other ways.
    """

    def words(features: datasets.Features) -> list[str]:
        taken = {data.label_column, *([] if data.label_column else tag_columns(features))}
        return [name for name, feature in features.items() if is_text(_item(feature)) and name not in taken]

    source = open_text_rows(data, words, Labelling(tag_columns, num_untagged))
    for part in (source, source.validation, source.test):
        if part is None or part.label_column is None:
            continue
        words_feature, tags_feature = (part.rows.features[name] for name in (part.column, part.label_column))
        require(is_text(_item(words_feature)), f"--text_column {part.column} must hold a list of words a row")
        require(
            is_text(_item(tags_feature)) or isinstance(_item(tags_feature), datasets.ClassLabel),
            f"the column {part.label_column} must hold a list of tags a row, by name: choose one with --label_column",
        )
    refuse_missing(source, 0 if source.label_column is None else num_untagged(source), "lists of tags")
    return source


def tag_columns(features: datasets.Features) -> list[str]:
    """Columns of lists of classes, else the first of those that are named like tags."""
    listed = [name for name, feature in features.items() if isinstance(_item(feature), datasets.ClassLabel)]
    return listed or [name for name in _NAMES if name in features and _item(features[name]) is not None][:1]


def _item(feature: object) -> object:
    """What a column of lists holds in them; None for other columns."""
    return feature.feature if isinstance(feature, (datasets.List, datasets.LargeList)) else None


def num_untagged(source: Source) -> int:
    """Rows without words, without tags, or with one tag missing or -1."""
    rows = zip(source.rows[source.column][:], source.rows[source.label_column][:], strict=True)
    return sum(words is None or tags is None or None in tags or -1 in tags for words, tags in rows)


def tags_of(source: Source) -> tuple[list[list[str]], int]:
    """(the tags of each row in IOB2, how many began an entity as I- does in IOB1 and are B- now).

    Raises:
        ConfigError: a tag is missing, is none of O, B-type and I-type, or there are not as many as words.
    """
    assert source.label_column is not None
    refuse_missing(source, num_untagged(source), "lists of tags")
    item = _item(source.rows.features[source.label_column])
    found, num_changed = [], 0
    for row, (words, values) in enumerate(
        zip(source.rows[source.column], source.rows[source.label_column], strict=True)
    ):
        require(
            len(words) == len(values),
            f"row {row} of the split {source.split} has {len(words)} words and {len(values)} tags",
        )
        tags = [item.int2str(value) for value in values] if isinstance(item, datasets.ClassLabel) else list(values)
        own, changed = _in_iob2(tags, f"row {row} of the split {source.split}")
        found.append(own)
        num_changed += changed
    return found, num_changed


def known_tags(source: Source, names: Sequence[str]) -> tuple[list[list[str]], int]:
    """As `tags_of`. Raises ConfigError also where a tag is not among `names`."""
    tags, num_changed = tags_of(source)
    refuse_unseen(source, Counter(tag for own in tags for tag in set(own) - set(names)), "tags")
    return tags, num_changed


def _in_iob2(tags: Sequence[str], place: str) -> tuple[list[str], int]:
    """IOB1 begins an entity with I- unless one of its type ends just before: such an I- becomes B-."""
    own, kind_before, changed = [], "", 0
    for tag in tags:
        prefix, _, kind = tag.partition("-")
        is_tag = tag == _OUTSIDE or (prefix in ("B", "I") and bool(kind))
        require(
            is_tag, f"{place} has the tag {tag}: tags must be O, B-type and I-type (IOB2, or IOB1, which is converted)"
        )
        begins = prefix == "I" and kind != kind_before
        own.append(f"B-{kind}" if begins else tag)
        changed += begins
        kind_before = kind
    return own, changed


def tag_names_of(source: Source) -> list[str]:
    """The tags of the training rows: in the order of their numbers, or O and then by the alphabet.

    Raises:
        ConfigError: as `tags_of`, or there is no entity.
    """
    assert source.label_column is not None
    found = {tag for tags in tags_of(source)[0] for tag in tags}
    require(bool(found - {_OUTSIDE}), f"all words of the split {source.split} are tagged O: there is nothing to find")
    item = _item(source.rows.features[source.label_column])
    known = list(item.names) if isinstance(item, datasets.ClassLabel) else [_OUTSIDE]
    return known + sorted(found - set(known))


class TaggedSentences:
    """Sentences with the places and the numbers of the tags of their words."""

    def __init__(self, tokens: Examples, places: Examples, tags: list[Tensor]) -> None:
        self._tokens, self._places, self._tags = tokens, places, tags

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """`input_ids` and the like (T,); `places` and `tags` (W,)."""
        return self._tokens[index] | self._places[index] | {"tags": self._tags[index]}


class TaggedWords(DataPipeline):
    """`input_ids`, `attention_mask`, perhaps `token_type_ids`, and `labels`, (B, T) int64 padded to the longest of the batch:
    the tag's number at the first piece of each word, IGNORED elsewhere. `tags` and `places` (B, W) int64: of all words,
    padded with IGNORED; a place is negative where a word has no token.

    counts_C: words of each tag in the training rows, known after `prepare`.
    """

    def __init__(self, data: TextDataConfig, tokenizer: PreTrainedTokenizerFast, class_names: Sequence[str]) -> None:
        self.data = data
        self.processor: PreTrainedTokenizerFast = tokenizer
        self.class_names = list(class_names)
        self.counts_C = np.zeros(len(class_names), dtype=np.int64)

    @property
    def data_path(self) -> str:
        return "one sentence a row"

    @property
    def wants_workers(self) -> bool:
        return False

    def prepare(self, source: Source) -> TaggedSentences:
        tags, num_changed = known_tags(source, self.class_names)
        numbers = {name: number for number, name in enumerate(self.class_names)}
        tokens, places, found = encoded_words(self.processor, source.rows[source.column][:], self.data.max_length)
        numbered = [torch.tensor([numbers[tag] for tag in own], dtype=torch.int64) for own in tags]
        self.counts_C = class_counts(torch.cat(numbered).numpy(), len(self.class_names))
        if is_main_process():
            if num_changed:
                print(f"{num_changed} tags of {source.split} begin an entity with I-, as in IOB1: they are B- here")
            for line in found.lines(source.split):
                print(line, flush=True)
        return TaggedSentences(tokens, places, numbered)

    def transform(self, example: dict[str, Tensor], key: Tensor) -> dict[str, Tensor]:
        return example

    def collate(self, examples: Sequence[dict[str, Tensor]], keys_B: Tensor) -> Batch:
        inputs = [{name: one[name] for name in one if name not in ("tags", "places")} for one in examples]
        batch = encoded_batch(inputs, self.processor.pad_token_id)
        width = max(1, *(len(one["tags"]) for one in examples))
        labels_BT = torch.full_like(batch["input_ids"], IGNORED)
        words = {name: torch.full((len(examples), width), IGNORED) for name in ("tags", "places")}
        for row, one in enumerate(examples):
            is_seen_W = one["places"] >= 0
            labels_BT[row, one["places"][is_seen_W]] = one["tags"][is_seen_W]
            for name, values in words.items():
                values[row, : len(one[name])] = one[name]
        return batch | words | {"labels": labels_BT}

    def eval_transform(self, examples: Sequence[dict[str, Tensor]], first: int = 0) -> Batch:
        ids_B = torch.arange(first, first + len(examples))
        keys_B = sample_keys(0, torch.full_like(ids_B, -1), ids_B)
        return self.collate(examples, keys_B) | {"sample_ids": ids_B, "keys": keys_B}

    def shown(self, example: dict[str, Tensor]) -> str:
        """A sentence for people: what the model read of it."""
        return str(self.processor.decode(example["input_ids"], skip_special_tokens=True))
