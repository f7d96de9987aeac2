"""Cached tokens are what the tokenizer gives for each whole text, words are those of its pre-tokenizer."""

import pickle
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from datasets import Dataset
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hfssl.data.demo import sets as demo
from hfssl.data.source import Source
from hfssl.data.texts import token_cache
from hfssl.data.texts.config import TokenizerKind
from hfssl.data.texts.pieces import Cutter
from hfssl.data.texts.token_cache import CachedTokens, tokens_of
from hfssl.data.texts.tokenizer import train_tokenizer
from hfssl.errors import ConfigError

KINDS = get_args(TokenizerKind)
TEXTS = [
    "The  first\n\n\nargument,\n\tand the second.  It is\r\nnot   an \n error:\n   the method's",
    "   a b  ",
    "x" * 150,
    "\x00\x01",
    " ".join(["word\n\n", "two  words\n", "and a third: '"] * 40),
    "[MASK] <mask> </s>",
]


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    texts = demo.SETS["pydocs"]()["train"]["text"][:100]
    trained = {kind: train_tokenizer(texts, kind, 500, False) for kind in KINDS}
    return trained | {"whole": without_pre_tokenizer(trained["unigram"])}


def without_pre_tokenizer(unigram: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Spaces as Llama 2 has them: set by the normalizer before every text, no words of a pre-tokenizer."""
    backend = Tokenizer(unigram.backend_tokenizer.model)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


def source_of(texts: list[str]) -> Source:
    rows = Dataset.from_dict({"text": texts})
    return Source("texts", "train", rows, "text", None, None, rows)


def in_one_go(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.encode_special_tokens = True
    return [backend.encode(text, add_special_tokens=False).ids for text in texts]


@pytest.mark.parametrize("kind", [*KINDS, "whole"])
def test_pieces_of_long_texts_have_the_tokens_of_the_whole(
    kind: str, tokenizers: dict[str, PreTrainedTokenizerFast], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = tokenizers[kind]
    monkeypatch.setattr(token_cache, "_BATCH_CHARACTERS", 500)
    documents = TEXTS[:5]
    documents += demo.SETS["pydocs"]()["train"]["text"][:100]
    expected = in_one_go(tokenizer, documents)
    assert max(map(len, documents)) > 5_000
    for number, longest in enumerate((200, 1_000, 100_000)):
        monkeypatch.setattr(token_cache, "_LONGEST_PIECE", longest)
        monkeypatch.setattr(token_cache, "FORMAT", f"pieces{number}")
        cached = tokens_of(source_of(documents), tokenizer)
        assert len(cached) == len(documents)
        assert [document.tolist() for document in cached] == expected  # type: ignore[attr-defined]
        assert cached.lengths.tolist() == [len(ids) for ids in expected]


def test_a_text_is_cut_at_a_single_space_else_before_the_end_of_a_run_else_anywhere(
    tokenizers: dict[str, PreTrainedTokenizerFast],
) -> None:
    cut = Cutter(tokenizers["bpe"].backend_tokenizer, 10)
    assert list(cut("short")) == ["short"]
    assert list(cut("abc def gh\n\nij")) == ["abc def", " gh\n\nij"]
    assert list(cut("abcdefg\n\n\nhijkl")) == ["abcdefg\n\n", "\nhijkl"]
    assert list(cut("a" * 25)) == ["a" * 10, "a" * 10, "a" * 5]
    assert list(Cutter(tokenizers["whole"].backend_tokenizer, 10)("abc def ghi j")) == ["abc def", "ghi j"]


def words_of(tokenizer: PreTrainedTokenizerFast, cached: CachedTokens, document: int) -> list[str]:
    """The words that `word_starts` finds in one document, as the tokens spell them."""
    start, end = cached.offsets[document], cached.offsets[document + 1]
    tokens = tokenizer.convert_ids_to_tokens(cached.ids[start:end].tolist())
    starts = [*np.flatnonzero(cached.word_starts[start:end]).tolist(), len(tokens)]
    return ["".join(token.removeprefix("##") for token in tokens[one:other]) for one, other in pairwise(starts)]


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_those_of_the_pre_tokenizer(kind: str, tokenizers: dict[str, PreTrainedTokenizerFast]) -> None:
    tokenizer = tokenizers[kind]
    documents = ["Parse the (second)\n\nargument's value, unless it is 12.", "The method: returns\tnone"]
    documents += [text for text in demo.SETS["pydocs"]()["train"]["text"][:50] if text.isascii()]
    cached = tokens_of(source_of(documents), tokenizer)
    assert int(cached.word_starts.max()) == 1
    compared = 0
    for document, text in enumerate(documents):
        if tokenizer.unk_token_id in cached[document]:
            continue
        backend = tokenizer.backend_tokenizer
        normalised = text if backend.normalizer is None else backend.normalizer.normalize_str(text)
        expected = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normalised)]
        assert words_of(tokenizer, cached, document) == expected
        compared += 1
    assert compared > 20
    assert cached.word_starts.mean() < 0.8


def test_words_of_three_kinds_in_one_sentence(tokenizers: dict[str, PreTrainedTokenizerFast]) -> None:
    expected = {
        "wordpiece": ["Parse", "the", "(", "second", ")", "argument", "."],
        "bpe": ["Parse", "Ġthe", "Ġ(", "second", ")", "Ċ", "argument", "."],
        "unigram": ["▁Parse", "▁the", "▁(second)", "▁argument."],
        "whole": ["▁Parse", "▁the", "▁(second)\nargument."],
    }
    for kind, words in expected.items():
        cached = tokens_of(source_of(["Parse the (second)\nargument."]), tokenizers[kind])
        found = words_of(tokenizers[kind], cached, 0)
        assert [word.replace("<unk>", "\n") for word in found] == words, kind


def test_what_looks_like_a_special_token_is_text(tokenizers: dict[str, PreTrainedTokenizerFast]) -> None:
    for kind in KINDS:
        cached = tokens_of(source_of(["[MASK] <mask> </s> [SEP]"]), tokenizers[kind])
        special = set(tokenizers[kind].all_special_ids) - {tokenizers[kind].unk_token_id}
        assert not special & set(cached.ids.tolist()), kind


def test_padding_and_truncation_do_not_matter_but_rows_and_tokenizer_do(
    tokenizers: dict[str, PreTrainedTokenizerFast],
) -> None:
    source, tokenizer = source_of(TEXTS), tokenizers["bpe"]
    plain = tokens_of(source, tokenizer)
    tokenizer.backend_tokenizer.enable_padding(length=64)
    tokenizer.backend_tokenizer.enable_truncation(4)
    again = tokens_of(source, tokenizer)
    assert again.folder == plain.folder
    assert max(plain.lengths) > 64
    assert tokens_of(source, tokenizers["wordpiece"]).folder != plain.folder
    assert tokens_of(source_of(TEXTS[1:]), tokenizer).folder != plain.folder


@pytest.mark.parametrize("name", ["ids", "word_starts", "offsets.npy", "seal.json"])
def test_a_damaged_cache_is_made_anew(name: str, tokenizers: dict[str, PreTrainedTokenizerFast]) -> None:
    source = source_of([*TEXTS, name])
    before = tokens_of(source, tokenizers["bpe"])
    file = before.folder / name
    ids = before.ids.tolist()
    content = file.read_bytes()
    file.unlink()
    if name != "seal.json":
        file.write_bytes(content[:1])
    after = tokens_of(source, tokenizers["bpe"])
    assert after.ids.tolist() == ids
    assert file.read_bytes() == content


def test_ids_are_as_wide_as_the_vocabulary_needs(tokenizers: dict[str, PreTrainedTokenizerFast]) -> None:
    assert tokens_of(source_of(TEXTS), tokenizers["bpe"]).ids.dtype == np.uint16
    for largest, dtype in {65_535: np.uint16, 65_536: np.uint32}.items():
        backend = Tokenizer(models.WordLevel({"a": 0, "b": largest}, unk_token="a"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        cached = tokens_of(source_of(["a b"]), PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="a"))
        assert cached.ids.dtype == dtype
        assert cached[0].tolist() == [0, largest]


def test_texts_without_a_token_are_empty_documents(tokenizers: dict[str, PreTrainedTokenizerFast]) -> None:
    nothing = tokens_of(source_of(["\x00"]), tokenizers["wordpiece"])
    assert (nothing.lengths.tolist(), nothing[0].tolist()) == ([0], [])
    between = tokens_of(source_of(["the", "\x00", "the method"]), tokenizers["wordpiece"])
    assert between.lengths.tolist()[:2] == [1, 0]
    assert between.word_starts.tolist()[:2] == [1, 1]


def test_tokens_can_be_sent_to_a_spawned_worker(tokenizers: dict[str, PreTrainedTokenizerFast]) -> None:
    cached = tokens_of(source_of(TEXTS), tokenizers["unigram"])
    sent = pickle.dumps(cached)
    assert len(sent) < 1_000
    again = pickle.loads(sent)
    assert again.ids.tolist() == cached.ids.tolist()
    assert again.offsets.tolist() == cached.offsets.tolist()


def test_a_full_disk_is_told_before(
    tokenizers: dict[str, PreTrainedTokenizerFast], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(token_cache, "text_bytes", lambda source: 1 << 60)
    with pytest.raises(ConfigError, match="let HFSSL_CACHE name a larger disk"):
        tokens_of(source_of(["never seen before"]), tokenizers["bpe"])
