"""(Pseudo-)perplexity against slow loops over tokens, and the evaluation of a text checkpoint from flags to file."""

import json
import math
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, GPT2Config, PreTrainedTokenizerFast, T5Config

from hfssl.checkpoints.exports import write_export
from hfssl.commands.evaluate import evaluate
from hfssl.evaluation.evaluate_config import EvaluateConfig
from hfssl.evaluation.knn import knn_predictions
from hfssl.evaluation.perplexity import LanguageModel, open_language_model, perplexity_of, scored, sentence
from hfssl.evaluation.text_features import open_text_encoder, sentences_of_cut, text_features, what_is_cut
from hfssl.evaluation.texts import tfidf
from hfssl.models.text_length import longest_text
from tests.support.adapters import fill_adapters, open_adapted_run, write_base
from tests.support.language_models import VOCABULARY, tiny_causal, tiny_masked

CPU = torch.device("cpu")
WORDS = [f"w{index}" for index in range(VOCABULARY - 5)]
TEXT = "w1 w2 w3 w2 w9 w30"


def tokenizer(frame: bool) -> PreTrainedTokenizerFast:
    """Whole words; `frame` puts [CLS] and [SEP] around a text."""
    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    words = {word: index for index, word in enumerate(special + WORDS)}
    backend = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if frame:
        backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    names = {
        "unk_token": "[UNK]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def saved(model: Any, framed: bool, folder: Path) -> str:
    model.save_pretrained(folder)
    tokenizer(framed).save_pretrained(folder)
    return str(folder)


def test_pseudo_losses_hide_one_token_at_a_time() -> None:
    model, framed = tiny_masked("bert"), tokenizer(frame=True)
    found = scored(LanguageModel(model, framed, is_causal=False, max_length=64), TEXT)
    ids = torch.tensor(framed(TEXT)["input_ids"])
    expected = []
    for position in range(1, len(ids) - 1):
        hidden = ids.clone()
        hidden[position] = framed.mask_token_id
        logits = model(input_ids=hidden[None]).logits[0, position]
        expected.append(-float(logits.log_softmax(dim=0)[ids[position]].detach()))
    assert np.allclose(found.losses, expected, atol=1e-5)
    assert found.ids.tolist() == ids[1:-1].tolist()
    assert found.num_bytes == len(TEXT)


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_causal_losses_are_those_of_the_stock_model(model_type: str) -> None:
    model, plain = tiny_causal(model_type), tokenizer(frame=False)
    found = scored(LanguageModel(model, plain, is_causal=True, max_length=64), TEXT)
    ids = torch.tensor([plain(TEXT)["input_ids"]])
    assert found.losses.mean() == pytest.approx(float(model(input_ids=ids, labels=ids).loss.detach()), abs=1e-5)
    assert found.num_bytes == len(TEXT) - len("w1 ")  # the first token is not predicted


def test_perplexity_counts_tokens_and_lies_in_its_interval() -> None:
    language_model = LanguageModel(tiny_masked("bert"), tokenizer(frame=True), is_causal=False, max_length=64)
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, size)) for size in generator.integers(1, 12, 30)]
    figures = perplexity_of(language_model, texts, ["w1 w1 w2"])
    assert figures is not None
    losses = np.concatenate([scored(language_model, text).losses for text in texts])
    assert figures["tokens"] == len(losses) == sum(len(text.split()) for text in texts)
    assert figures["value"] == pytest.approx(math.exp(losses.mean()))
    assert figures["low"] < figures["value"] < figures["high"]
    assert figures["bits_a_byte"] == pytest.approx(losses.sum() / math.log(2) / sum(map(len, texts)))
    assert figures["of_token_frequencies"] == pytest.approx(VOCABULARY + 3, rel=0.1)  # nearly all unseen: one each
    assert perplexity_of(language_model, [""], texts) is None


def slow_windows(num_tokens: int, room: int) -> list[tuple[int, int, int]]:
    """(start, end, first token that is scored) of windows that share half of their tokens with the one before."""
    shared, windows, start = room // 2, [], 0
    while True:
        end = min(num_tokens, start + room)
        windows.append((start, end, start + (shared if start else 0)))
        if end == num_tokens:
            return windows
        start = end - shared


@pytest.mark.parametrize("num_words", [1, 7, 8, 9, 12, 13, 40])
def test_a_causal_model_reads_long_texts_in_windows_and_predicts_each_token_once(num_words: int) -> None:
    model, plain = tiny_causal("gpt2"), tokenizer(frame=False)
    text = " ".join(np.random.default_rng(0).choice(WORDS, num_words))
    ids = torch.tensor(plain(text)["input_ids"])
    found = scored(LanguageModel(model, plain, is_causal=True, max_length=8), text)
    expected = []
    for start, end, first in slow_windows(num_words, 8):
        rows = model(input_ids=ids[None, start:end]).logits[0].log_softmax(dim=1)
        expected += [-float(rows[place - 1 - start, ids[place]].detach()) for place in range(max(1, first), end)]
    assert found.ids.tolist() == ids[1:].tolist()
    assert np.allclose(found.losses, expected, atol=1e-5)
    assert found.num_bytes == (len(text.split(" ", 1)[1]) if num_words > 1 else 0)
    assert found.num_windows == len(slow_windows(num_words, 8))


def test_a_masked_model_reads_long_texts_in_framed_windows() -> None:
    model, framed = tiny_masked("bert"), tokenizer(frame=True)
    text = " ".join(np.random.default_rng(1).choice(WORDS, 15))
    found = scored(LanguageModel(model, framed, is_causal=False, max_length=8), text)
    ids = framed(text, add_special_tokens=False)["input_ids"]
    expected = []
    for start, end, first in slow_windows(15, 6):  # two of eight tokens are [CLS] and [SEP]
        for place in range(first, end):
            window = torch.tensor([2, *ids[start:end], 3])
            window[1 + place - start] = framed.mask_token_id
            logits = model(input_ids=window[None]).logits[0, 1 + place - start]
            expected.append(-float(logits.log_softmax(dim=0)[ids[place]].detach()))
    assert found.ids.tolist() == ids
    assert np.allclose(found.losses, expected, atol=1e-5)
    assert found.num_bytes == len(text)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary_over_any_number_of_tokens() -> None:
    model = tiny_causal("gpt2")
    for parameter in model.parameters():
        parameter.data.zero_()
    texts = [" ".join(["w1"] * 20_000)] * 3
    figures = perplexity_of(
        LanguageModel(model, tokenizer(frame=False), is_causal=True, max_length=64), texts, ["w1 w2"]
    )
    assert figures is not None
    assert figures["value"] == pytest.approx(model.config.vocab_size, rel=1e-6)
    assert (figures["tokens"], figures["documents_in_windows"]) == (3 * 19_999, 3)
    assert (figures["window"], figures["stride"]) == (64, 32)
    assert "3 texts of more than 64 tokens were read in windows, each 32 tokens after the one before it" in sentence(
        figures
    )


@pytest.mark.parametrize(
    ("positions", "limit", "expected"), [(2048, 1024, 1024), (1024, None, 1024), (None, 700, 700), (None, None, 512)]
)
def test_as_many_tokens_are_read_as_tokenizer_and_model_allow(
    positions: int | None, limit: int | None, expected: int
) -> None:
    config = GPT2Config(n_positions=positions) if positions else T5Config()
    plain = tokenizer(frame=False)
    if limit is not None:
        plain.model_max_length = limit
    assert longest_text(config, plain) == expected


def test_what_is_cut_off_is_counted_and_long_texts_share_smaller_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = open_text_encoder(saved(tiny_masked("bert"), True, tmp_path / "bert"), CPU)
    limit = encoder.max_length
    texts = [" ".join(["w1"] * size) for size in (limit - 2, limit - 1, limit + 8, 3)]
    cut = what_is_cut(encoder.tokenizer, limit, texts)
    assert (cut["limit"], cut["texts"], cut["texts_cut"]) == (limit, 4, 2)
    assert (cut["tokens"], cut["tokens_cut"]) == (3 * limit + 8 + 5 + 3, 1 + 10)
    assert "2 of 4 texts are longer than the" in sentences_of_cut(cut)[0]
    assert sentences_of_cut(what_is_cut(encoder.tokenizer, limit, texts[:1])) == []
    whole = text_features(encoder, texts * 3)
    assert whole.shape == (12, encoder.model.config.hidden_size)
    monkeypatch.setattr("hfssl.evaluation.text_features._USUAL_LENGTH", 10)
    assert np.allclose(text_features(encoder, texts * 3), whole, atol=1e-5)


def test_a_checkpoint_without_a_trained_head_has_no_perplexity(tmp_path: Path) -> None:
    encoder = BertModel(BertConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2))
    assert open_language_model(saved(encoder, True, tmp_path / "encoder"), 64, CPU) is None
    opened = open_language_model(saved(tiny_masked("roberta"), True, tmp_path / "roberta"), 64, CPU)
    assert opened is not None
    assert not opened.is_causal


def test_sparse_votes_are_those_of_the_same_dense_features() -> None:
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, 12)) for _ in range(80)]
    labels = np.arange(60) % 3
    train, test = tfidf(texts[:60], texts[60:])
    assert test is not None
    dense = knn_predictions(train.toarray(), labels, test.toarray())
    assert (knn_predictions(train, labels, test) == dense).mean() > 0.9  # but for ties


def labelled_texts(folder: Path) -> str:
    """Two classes that differ in their words; the test split repeats one training text in capitals."""
    generator = np.random.default_rng(0)
    sides = {}
    for split, count in (("train", 60), ("test", 20)):
        labels = [index % 2 for index in range(count)]
        texts = [" ".join(generator.choice(WORDS[20 * label : 20 * label + 22], 10)) for label in labels]
        sides[split] = (texts, labels)
    sides["test"][0][0] = sides["train"][0][0].replace(" ", "   ")
    folder.mkdir()
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["low", "high"])}
    )
    for split, (texts, labels) in sides.items():
        rows = datasets.Dataset.from_dict({"text": texts, "label": labels}, features=features)
        rows.to_parquet(folder / f"{split}.parquet")
    return str(folder)


@pytest.mark.parametrize("model_type", ["bert", "gpt2"])
def test_a_text_checkpoint_from_flags_to_file(
    model_type: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    is_causal = model_type == "gpt2"
    model = tiny_causal(model_type) if is_causal else tiny_masked(model_type)
    config = EvaluateConfig(
        model=saved(model, not is_causal, tmp_path / "model"),
        dataset=labelled_texts(tmp_path / "data"),
        label_sizes=("5", "100%"),
        num_seeds=2,
        perplexity_documents=6,
        output_dir=str(tmp_path / "out"),
    )
    result = evaluate(config)
    assert [row["features"] for row in result["rows"]] == ["TF-IDF", "untrained", "evaluated"]
    assert result["rows"][0]["linear"] > 0.8
    assert result["near_duplicates_in_test"]["by_hash"] == 1
    assert result["perplexity"]["kind"] == ("perplexity" if is_causal else "pseudo-perplexity")
    assert result["perplexity"]["documents"] == 6
    assert json.loads((tmp_path / "out" / "evaluate-data.json").read_text()) == json.loads(json.dumps(result))
    said = capsys.readouterr().out
    assert f"{result['perplexity']['kind']} of 6 test texts" in said
    assert "1 by words" in said
    assert str(tmp_path) not in json.dumps(result | {"command": ""})


@pytest.mark.versions
def test_an_adapter_is_evaluated_in_its_base(tmp_path: Path) -> None:
    opened = open_adapted_run(write_base("bert", tmp_path / "bert"), tmp_path / "run")
    fill_adapters(opened)
    write_export(opened.objective.eval().export(), tmp_path / "adapter")
    flags: dict[str, Any] = {"dataset": labelled_texts(tmp_path / "data"), "label_sizes": ("100%",), "num_seeds": 2}
    found = {
        name: evaluate(EvaluateConfig(model=str(tmp_path / name), output_dir=str(tmp_path / "out"), **flags))
        for name in ("adapter", "bert/base")
    }
    adapted, base = (found[name]["perplexity"]["nats_a_token"] for name in found)
    assert adapted != pytest.approx(base, abs=1e-3)
    assert found["adapter"]["pooling"] == "mean"
