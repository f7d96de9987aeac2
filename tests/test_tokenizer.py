"""Trained tokenizers are stock ones, the same in every process; others are loaded or refused in one line."""

from pathlib import Path
from typing import Any, get_args

import datasets
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertConfig, CanineTokenizer, GPT2Config, PreTrainedTokenizerFast

from hfssl.data.demo import sets as demo
from hfssl.data.source import Source
from hfssl.data.texts import rows as text_rows
from hfssl.data.texts import tokenizer
from hfssl.data.texts.config import TextDataConfig, TokenizerKind
from hfssl.data.texts.pipeline import TextPipeline
from hfssl.data.texts.source import open_texts
from hfssl.data.texts.tokenizer import open_tokenizer, train_tokenizer
from hfssl.errors import ConfigError
from tests.support.interpreter import Interpreter

KINDS = get_args(TokenizerKind)
VOCAB_SIZE = 500
SENTENCE = "The  Method's (second)\n\nargument — naïve:\tit is <mask> or [MASK] </s> end."
TRAINED_AGAIN = """
from transformers import AutoTokenizer
from hfssl.data.texts.tokenizer import train_tokenizer
folder, texts, sentence = arguments
answer = []
for kind in ("wordpiece", "bpe", "unigram"):
    loaded = AutoTokenizer.from_pretrained(f"{folder}/{kind}")
    trained = train_tokenizer(texts, kind, 500, False).backend_tokenizer.to_str()
    answer.append([loaded(sentence)["input_ids"], trained == loaded.backend_tokenizer.to_str()])
"""


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return list(demo.SETS["pydocs"]()["train"]["text"][:150])


@pytest.fixture(scope="module")
def trained(texts: list[str]) -> dict[str, PreTrainedTokenizerFast]:
    return {kind: train_tokenizer(texts, kind, VOCAB_SIZE, False) for kind in KINDS}


def test_another_process_loads_the_same_ids_and_trains_the_same_tokenizer(
    trained: dict[str, PreTrainedTokenizerFast], texts: list[str], tmp_path: Path, other_interpreter: Interpreter
) -> None:
    for kind, config in {"wordpiece": BertConfig(), "bpe": GPT2Config(), "unigram": None}.items():
        trained[kind].save_pretrained(tmp_path / kind)
        if config is not None:
            config.save_pretrained(tmp_path / kind)  # an export has one, whose class has a stock tokenizer of its own
    elsewhere = other_interpreter(TRAINED_AGAIN, str(tmp_path), texts, SENTENCE)
    assert elsewhere == [[trained[kind](SENTENCE)["input_ids"], True] for kind in KINDS]


def test_special_tokens_stand_around_one_text_and_a_pair_as_in_bert_and_roberta(
    trained: dict[str, PreTrainedTokenizerFast],
) -> None:
    for kind, (start, middle, end) in {
        "wordpiece": (["[CLS]"], ["[SEP]"], ["[SEP]"]),
        "bpe": (["<s>"], ["</s>", "</s>"], ["</s>"]),
        "unigram": (["<s>"], ["</s>", "</s>"], ["</s>"]),
    }.items():
        one, other = trained[kind].tokenize("the first"), trained[kind].tokenize("a second")
        encoded = trained[kind]("the first", "a second")
        assert trained[kind].convert_ids_to_tokens(encoded["input_ids"]) == [*start, *one, *middle, *other, *end]
        assert trained[kind]("the first")["input_ids"] == encoded["input_ids"][: len(one) + 2]
        if kind == "wordpiece":
            assert encoded["token_type_ids"] == [0] * (len(one) + 2) + [1] * (len(other) + 1)
        else:
            assert "token_type_ids" not in encoded


def test_vocabularies_have_the_size_asked_for_and_special_tokens_first(
    trained: dict[str, PreTrainedTokenizerFast],
) -> None:
    for kind, first in {"wordpiece": "[PAD] [UNK] [CLS] [SEP] [MASK]", "bpe": "<s> <pad> </s> <unk> <mask>"}.items():
        assert trained[kind].convert_ids_to_tokens(range(5)) == first.split()
        assert sorted(trained[kind].all_special_ids) == list(range(5))
        assert len(trained[kind]) == VOCAB_SIZE
    assert trained["unigram"].convert_ids_to_tokens(range(5)) == ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    assert len(trained["unigram"]) == VOCAB_SIZE
    assert all(tokenizer.model_max_length == 512 for tokenizer in trained.values())


def test_the_mask_stands_for_a_whole_token_with_its_space(trained: dict[str, PreTrainedTokenizerFast]) -> None:
    for kind in ("bpe", "unigram"):
        ids = trained[kind]("the <mask>", add_special_tokens=False)["input_ids"]
        expected = trained[kind]("the", add_special_tokens=False)["input_ids"]
        assert ids == [*expected, trained[kind].mask_token_id], kind


def test_byte_level_bpe_gives_any_text_back(trained: dict[str, PreTrainedTokenizerFast]) -> None:
    text = " Zoë\n\n\tsaid:  “日本語”  🙂 "
    assert trained["bpe"].decode(trained["bpe"](text, add_special_tokens=False)["input_ids"]) == text


def test_wordpiece_compresses_as_the_librarys_own_trainer(
    trained: dict[str, PreTrainedTokenizerFast], texts: list[str]
) -> None:
    stock = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    stock.normalizer = normalizers.BertNormalizer(lowercase=False)
    stock.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    stock.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=VOCAB_SIZE, special_tokens=tokens))
    theirs = sum(len(encoding.ids) for encoding in stock.encode_batch(texts))
    ours = sum(len(trained["wordpiece"].tokenize(text)) for text in texts)
    assert abs(ours / theirs - 1) < 0.01


def test_lower_case_is_read_alike(texts: list[str]) -> None:
    for kind in KINDS:
        lower = train_tokenizer(texts[:40], kind, 300, True)
        assert lower("THE Method")["input_ids"] == lower("the method")["input_ids"]


def test_a_tokenizer_is_trained_once_for_the_same_rows_and_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    data = TextDataConfig.tiny()
    source = open_texts(data)
    first = open_tokenizer(data, source)
    assert first.model_max_length == data.max_length

    def refuse(*arguments: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(tokenizer, "train_tokenizer", refuse)
    again = open_tokenizer(data, source)
    assert again.backend_tokenizer.to_str() == first.backend_tokenizer.to_str()
    for other in ({"lowercase": True}, {"vocab_size": 301}, {"train_tokenizer": "bpe"}):
        with pytest.raises(AssertionError, match="trained again"):
            open_tokenizer(TextDataConfig(**({"train_tokenizer": "wordpiece", "vocab_size": 300} | other)), source)
    with pytest.raises(AssertionError, match="trained again"):
        open_tokenizer(data, source.part(range(100)))  # type: ignore[arg-type]


def test_tokenizers_that_can_not_be_used_are_refused_in_one_line(tmp_path: Path) -> None:
    CanineTokenizer().save_pretrained(tmp_path / "slow")
    (tmp_path / "empty").mkdir()
    for settings, message in {
        ("tokenizer", str(tmp_path / "slow")): "is not a fast tokenizer",
        ("tokenizer", str(tmp_path / "empty")): "cannot be loaded",
        ("tokenizer", "nobody/nothing"): "cannot be loaded",
        ("dataset", "x"): "set --tokenizer or --train_tokenizer",
    }.items():
        with pytest.raises(ConfigError, match=message) as caught:
            open_tokenizer(TextDataConfig(**dict([settings])), None)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="vocab_size 300 has no room for all characters"):
        train_tokenizer(["".join(map(chr, range(0x4E00, 0x5000)))], "unigram", 300, False)


def test_a_loaded_tokenizer_is_as_it_was_saved(trained: dict[str, PreTrainedTokenizerFast], tmp_path: Path) -> None:
    trained["bpe"].save_pretrained(tmp_path)
    loaded = open_tokenizer(TextDataConfig(tokenizer=str(tmp_path), max_length=64), None)  # type: ignore[arg-type]
    assert loaded.backend_tokenizer.to_str() == trained["bpe"].backend_tokenizer.to_str()
    assert loaded.model_max_length == 512


def test_a_tokenizer_that_does_not_know_the_texts_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "english.txt").write_text("the cat sat on the mat and the dog sat on the cat " * 50)
    (tmp_path / "thai.txt").write_text(
        "\u0e41\u0e21\u0e27\u0e19\u0e31\u0e48\u0e07\u0e1a\u0e19\u0e40\u0e2a\u0e37\u0e48\u0e2d " * 50
    )
    told = {}
    for name in ("english", "thai"):
        data = TextDataConfig(dataset=str(tmp_path / "english.txt"), train_tokenizer="wordpiece", vocab_size=300)
        tokenizer = open_tokenizer(data, open_texts(data))
        pipeline = TextPipeline(data, tokenizer, is_causal=False, draw=lambda keys, batch: {})
        pipeline.prepare(open_texts(TextDataConfig(dataset=str(tmp_path / f"{name}.txt"), text_unit="line")))
        told[name] = pipeline.warnings
    assert told["english"] == ()
    assert told["thai"][0].startswith(
        "100% of the tokens are [UNK]: the tokenizer does not know these texts; take another one"
    )


def test_lists_of_words_and_further_columns_are_trained_on(tmp_path: Path) -> None:
    rows = [{"words": ["zebra", None, "quail"], "other": "walrus"}, {"words": [], "other": None}, {"words": None}]
    table = datasets.Dataset.from_list(rows * 20)
    source = Source("rows", "train", table.select_columns("words"), "words", None, None, all_rows=table)
    assert list(text_rows.texts(source))[:3] == ["zebra quail", "", ""]
    assert sorted(set(text_rows.texts(source, further=["other"]))) == ["", "walrus", "zebra quail"]
    assert len(list(text_rows.texts(source, 2, further=["other"]))) == 60
    data = TextDataConfig(train_tokenizer="wordpiece", vocab_size=300)
    of_words, of_both = open_tokenizer(data, source), open_tokenizer(data, source, ["other"])
    assert of_words.tokenize("zebra quail walrus") == ["zebra", "quail", "[UNK]"]
    assert of_both.tokenize("zebra quail walrus") == ["zebra", "quail", "walrus"]
