"""Answers that are a tag for each word of a text, and the entities that these tags make.

T tokens, W words, L labels.

A word's tag is that of its first piece, with its probability (Devlin et al. 2019, arXiv 1810.04805, section 5.3). What is a word
of a text, and which words make an entity, transformers' TokenClassificationPipeline says, with its aggregation "first". Rows that
hold lists of words keep their words, as in training; their characters are those of the words joined by spaces.
"""

import copy
import warnings
from collections.abc import Mapping
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TokenClassificationPipeline
from transformers.pipelines.token_classification import AggregationStrategy

from hfssl.data.texts.word_encodings import NOWHERE, encoded_words, for_single_words
from hfssl.objective import Array, BadRowError
from hfssl.predicting.answers import Answers, Arrays, Opening, label_names, own_tokens, rounded
from hfssl.predicting.preprocessors import Prepared, Preprocessor, TextPreprocessor, placing, readable
from hfssl.run_dir import Json, JsonView

_OUTSIDE = "O"
_FIRST = AggregationStrategy.FIRST


class _Text(NamedTuple):
    """A text with the characters of each token, (T, 2), and which tokens are special, (T,).

    cut_at: the character from which on it is too long to be read; None where all of it is.
    """

    text: str
    input_ids: Array
    offsets_T2: Array
    is_special_T: Array
    cut_at: int | None


class _Words(NamedTuple):
    """Words, and the place of each one's first token, NOWHERE where it has none."""

    words: list[str]
    places: list[int]
    cut_at: int | None

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def starts(self) -> list[int]:
        """Where each word begins in the text."""
        return [0, *accumulate(len(word) + 1 for word in self.words)][: len(self.words)]


class Sentences(TextPreprocessor):
    """Contents are texts, or lists of words."""

    def prepare(self, content: Any) -> Prepared:
        return self._of_words(content) if isinstance(content, list) else self._of_text(readable(content))

    def _of_text(self, text: str) -> Prepared:
        encoded = self._processor(
            text,
            truncation=True,
            max_length=self.max_length,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        arrays = {name: np.asarray(values) for name, values in encoded.items()}
        offsets_T2, is_special_T = arrays.pop("offset_mapping"), arrays.pop("special_tokens_mask").astype(bool)
        if bool(is_special_T.all()):
            raise BadRowError("holds no token")
        end = int(offsets_T2[~is_special_T].max())
        is_cut = len(is_special_T) >= self.max_length and bool(text[end:].strip())
        return Prepared([arrays], _Text(text, arrays["input_ids"], offsets_T2, is_special_T, end if is_cut else None))

    def _of_words(self, words: list[Any]) -> Prepared:
        if not words:
            raise BadRowError("the list of words is empty")
        others = [type(word).__name__ for word in words if not isinstance(word, str)]
        if others:
            raise BadRowError(f"holds no word but a {others[0]}")
        tokens, found, said = encoded_words(self._for_words, [words], self.max_length)
        arrays = {name: values.numpy() for name, values in tokens[0].items()}
        arrays["attention_mask"] = np.ones(len(arrays["input_ids"]), dtype=np.int64)
        whole = _Words(words, found[0]["places"].tolist(), None)
        return Prepared([arrays], whole._replace(cut_at=whole.starts()[-said.num_cut] if said.num_cut else None))

    @cached_property
    def _for_words(self) -> Any:
        """The tokenizer as training has it where rows are words."""
        return for_single_words(copy.deepcopy(self._processor))


class Tags(Answers):
    """words: their tags and probabilities; entities: each with its first and last character (not included), text, tag and
    probability, the mean over its words; cut_at: see _Text."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self._names = label_names(model.config)
        self._stock = TokenClassificationPipeline(model=model, tokenizer=tokenizer)

    @property
    def columns(self) -> list[str]:
        return ["words", "tags", "probabilities", "entities", "cut_at"]

    def outputs(self, output: Any, batch: Mapping[str, Tensor], pieces: list[Arrays]) -> list[Tensor]:
        """(T, L) each."""
        return own_tokens(output.logits, batch)

    def of(self, outputs: list[Tensor], extra: _Text | _Words) -> Json:
        probabilities_TL = outputs[0].softmax(dim=1).numpy()
        with warnings.catch_warnings():  # of tokenizers whose words are told by spaces, and of words without a token
            warnings.simplefilter("ignore")
            read = self._in_text if isinstance(extra, _Text) else self._listed
            words = read(probabilities_TL, extra)
            entities = [one for one in self._stock.group_entities(words) if one["entity_group"] != _OUTSIDE]
        return {
            "words": [extra.text[word["start"] : word["end"]] for word in words],
            "tags": [word["entity"] for word in words],
            "probabilities": [_probability(word) for word in words],
            "entities": [_entity(one, extra.text) for one in entities],
            "cut_at": extra.cut_at,
        }

    def _in_text(self, probabilities_TL: Array, said_of: Any) -> list[Json]:
        tokens = self._stock.gather_pre_entities(
            said_of.text, said_of.input_ids, probabilities_TL, said_of.offsets_T2, said_of.is_special_T, _FIRST
        )
        return self._stock.aggregate_words(tokens, _FIRST)

    def _listed(self, probabilities_TL: Array, said_of: Any) -> list[Json]:
        """In the pipeline's form; a word without a token is outside, as it is scored in training."""
        listed = []
        for word, start, place in zip(said_of.words, said_of.starts(), said_of.places, strict=True):
            said = {"entity": _OUTSIDE, "score": np.nan, "word": "", "start": start, "end": start + len(word)}
            if place != NOWHERE:
                best = int(probabilities_TL[place].argmax())
                said |= {"entity": self._names[best], "score": probabilities_TL[place, best]}
            listed.append(said)
        return listed


def _probability(word: JsonView) -> float | None:
    return None if np.isnan(word["score"]) else rounded(float(word["score"]))


def _entity(one: JsonView, text: str) -> Json:
    begin, end = one["start"], one["end"]
    said = {"start": begin, "end": end, "text": text[begin:end], "tag": one["entity_group"]}
    return said | {"probability": _probability(one)}


def opened(opening: Opening) -> tuple[Preprocessor, Answers]:
    """Raises ConfigError where the tokenizer cannot tell where its tokens stand in a text."""
    tokenizer = placing(opening.processors[0])
    return Sentences(tokenizer, opening.model.config), Tags(opening.model, tokenizer)
