"""From documents to rows and batches: nothing lost or doubled, nothing across a boundary, and a run from texts to a model."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer, pipeline

from hfssl.commands.export import export_checkpoint
from hfssl.commands.export_config import ExportConfig
from hfssl.commands.pretrain import pretrain
from hfssl.config.parse import parse
from hfssl.data.source import Source
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.pipeline import Frame, PackedRows, TextPipeline, framed
from hfssl.data.texts.token_cache import CachedTokens, tokens_of
from hfssl.data.texts.tokenizer import train_tokenizer
from hfssl.errors import ConfigError
from hfssl.methods.clm.config import CLMConfig
from hfssl.methods.clm.objective import CLM
from hfssl.methods.mlm.config import MLMConfig
from hfssl.methods.mlm.objective import MLM
from hfssl.run_dir import RunDir
from hfssl.training.loop import Session
from hfssl.training.step import train_step
from tests.support.laboratory import few_texts, open_small, ready, steps_of


@pytest.fixture(scope="module")
def cached() -> tuple[CachedTokens, Any, Any]:
    source = few_texts()
    tokenizer = train_tokenizer([source.sample(row) for row in range(len(source))], "wordpiece", 300, False)
    return tokens_of(source, tokenizer), tokenizer, source


def spec_of(cached: tuple[CachedTokens, Any, Any], is_causal: bool, **settings: Any) -> tuple[TextPipeline, PackedRows]:
    data = dataclasses.replace(TextDataConfig.tiny(), **settings)
    data_pipeline = TextPipeline(data, cached[1], is_causal=is_causal, draw=lambda keys_B, rows: rows._asdict())
    return data_pipeline, data_pipeline.prepare(cached[2])


@pytest.mark.parametrize("no_packing", [False, True])
def test_rows_hold_whole_documents_between_their_special_tokens(
    cached: tuple[CachedTokens, Any, Any], no_packing: bool
) -> None:
    tokens, tokenizer, _ = cached
    _, rows = spec_of(cached, False, no_packing=no_packing)
    counts = np.zeros(len(tokenizer), dtype=int)
    for index in range(len(rows)):
        row = rows[index]
        assert len(row.input_ids) <= 32
        for number in range(1, int(row.segments.max()) + 1):
            inside = row.segments == number
            ids = row.input_ids[inside]
            assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
            assert row.maskable[inside].tolist() == [False] + [True] * (len(ids) - 2) + [False]
            assert bool(row.word_starts[inside][1])
        counts += np.bincount(row.input_ids[row.maskable], minlength=len(tokenizer))
        assert no_packing is False or int(row.segments.max()) == 1
    assert counts.tolist() == np.bincount(tokens.ids[: tokens.offsets[-1]], minlength=len(tokenizer)).tolist()


class OneWord:
    """A document of one word in four tokens, as `framed` reads it."""

    def __getitem__(self, index: int) -> np.ndarray:
        return np.array([11, 12, 13, 14])

    def starts_of(self, index: int) -> np.ndarray:
        return np.array([1, 0, 0, 0])


def test_a_word_that_is_cut_in_two_is_two_words() -> None:
    row = framed(OneWord(), [(0, 0, 2), (0, 2, 2)], Frame([1], [2]))
    assert row.input_ids.tolist() == [1, 11, 12, 2, 1, 13, 14, 2]
    assert row.word_starts.tolist() == [False, True, False, False, False, True, False, False]
    assert row.segments.tolist() == [1] * 4 + [2] * 4


@pytest.mark.parametrize("name", ["mlm", "clm"])
def test_the_objective_keeps_documents_of_a_row_apart(name: str, tmp_path: Path) -> None:
    opened = open_small(name, tmp_path)
    objective, vocabulary = opened.objective.eval(), len(opened.rows.pipeline.processor)
    segments = torch.tensor([[1] * 10 + [2] * 12])
    ids = torch.randint(5, vocabulary, (2, 22), generator=torch.Generator().manual_seed(0))
    ids[1, 10:] = ids[0, 10:]
    with torch.no_grad():
        hidden = [
            objective.model.base_model(**objective.inputs({"input_ids": row[None], "segments": segments}))[0]
            for row in ids
        ]
        alone = {"input_ids": ids[:1, 10:], "segments": torch.ones(1, 12, dtype=torch.int64)}
        single = objective.model.base_model(**objective.inputs(alone))[0]
    assert not torch.allclose(hidden[0][:, :10], hidden[1][:, :10])
    assert torch.allclose(hidden[0][:, 10:], hidden[1][:, 10:], atol=1e-6)
    assert torch.allclose(hidden[0][:, 10:], single, atol=1e-5)


@pytest.mark.parametrize("name", ["mlm", "clm"])
def test_padding_changes_no_feature(name: str, tmp_path: Path) -> None:
    opened = open_small(name, tmp_path)
    samples, data_pipeline = opened.rows.pipeline.whole_examples(few_texts()), opened.rows.pipeline
    examples = [samples[row] for row in range(len(samples))]
    shortest, longest = (pick(examples, key=lambda row: len(row.input_ids)) for pick in (min, max))
    assert len(shortest.input_ids) < len(longest.input_ids)
    with torch.no_grad():
        together = opened.objective.eval().features(data_pipeline.eval_transform([shortest, longest]))
        alone = [opened.objective.features(data_pipeline.eval_transform([example])) for example in (shortest, longest)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_a_resumed_run_reads_the_tokenizer_that_it_kept(tmp_path: Path) -> None:
    kept = train_tokenizer(["an entirely different text, with other words"], "bpe", 300, False)
    kept.save_pretrained(RunDir(tmp_path).processor)
    assert open_small("mlm", tmp_path).rows.pipeline.processor.get_vocab() == kept.get_vocab()


def test_causal_rows_learn_the_end_of_each_document_once_and_nothing_across(tmp_path: Path) -> None:
    opened = open_small("clm", tmp_path)
    data_pipeline, rows = opened.rows.pipeline, opened.rows.examples
    eos = data_pipeline.processor.eos_token_id
    ends = 0
    for index in range(len(rows)):
        batch = data_pipeline.collate([rows[index]], torch.tensor([7]))
        ids, labels, segments = batch["input_ids"][0], batch["labels"][0], batch["segments"][0]
        for position in range(31):
            same = segments[position] > 0 and segments[position] == segments[position + 1]
            assert int(labels[position]) == (int(ids[position + 1]) if same else -100)
        assert int(labels[31]) == -100
        ends += int((labels == eos).sum())
    assert ends >= len(few_texts()) - 2, "an end that stands alone in a row is the only one without a token before it"


def test_masked_batches_hide_what_the_labels_say(tmp_path: Path) -> None:
    opened = open_small("mlm", tmp_path)
    (batch,) = steps_of(opened, 1)[0]
    slots, labels, segments = batch["slots"], batch["labels"], batch["segments"]
    used = labels != -100
    assert 0.05 < float(used.sum() / (segments > 0).sum()) < 0.25
    special = torch.tensor(opened.rows.pipeline.processor.all_special_ids)
    assert not torch.isin(labels[used], special).any()
    hidden = batch["input_ids"].gather(1, slots)[used] == opened.rows.pipeline.processor.mask_token_id
    assert 0.5 < float(hidden.float().mean()) <= 1


SMALL = [
    "--config",
    "demo",
    "--hidden_size",
    "32",
    "--num_hidden_layers",
    "1",
    "--cpu_threads",
    "1",
    "--max_steps",
    "6",
]
SMALL += [
    "--global_batch_size",
    "8",
    "--max_length",
    "32",
    "--vocab_size",
    "400",
    "--log_every",
    "3",
    "--save_every",
    "3",
]


@pytest.fixture(scope="module")
def folder_of_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for row in range(80):
        (folder / f"{row}.txt").write_text(few_texts(0, 80).sample(row), encoding="utf-8")
    return folder


def test_a_folder_of_texts_becomes_a_masked_language_model(folder_of_texts: Path, tmp_path: Path) -> None:
    argv = [*SMALL, "--dataset", str(folder_of_texts), "--text_column", "none", "--output_dir", str(tmp_path / "run")]
    run_dir = pretrain(MLM, parse(MLMConfig, TextDataConfig, argv))
    model = AutoModelForMaskedLM.from_pretrained(run_dir.export)
    tokenizer = AutoTokenizer.from_pretrained(run_dir.export)
    assert model.config.vocab_size == len(tokenizer)
    fill = pipeline("fill-mask", model=str(run_dir.export))
    assert len(fill(f"the cat sat on a {tokenizer.mask_token}")) == 5
    summary = run_dir.read_summary()
    assert summary["language"]["loss"] < summary["language"]["loss_at_start"]
    assert {"top_1", "top_5", "unigram_cross_entropy"} <= summary["language"].keys()
    assert summary["test_rows_were_watched"], "the folder has no test split, and the table says so"
    for example in summary["examples"]:
        probabilities = [probability for _, probability in example["guesses"]]
        assert len(probabilities) == 3
        assert probabilities == sorted(probabilities, reverse=True)
        assert example["hidden"]
    assert len(summary["examples"]) == 3
    again = export_checkpoint(ExportConfig(run=str(run_dir.path), step=3))
    assert AutoTokenizer.from_pretrained(again).get_vocab() == tokenizer.get_vocab()
    adapted = [*SMALL[:2], "--init_from", str(run_dir.path), "--dataset", str(folder_of_texts), "--text_column", "none"]
    adapted += [
        "--max_steps",
        "2",
        "--global_batch_size",
        "8",
        "--cpu_threads",
        "1",
        "--output_dir",
        str(tmp_path / "b"),
    ]
    with pytest.raises(ConfigError, match="max_length 64 is more than the 34 positions of this model"):
        pretrain(MLM, parse(MLMConfig, TextDataConfig, [*adapted, "--max_length", "64"]))
    continued = pretrain(MLM, parse(MLMConfig, TextDataConfig, adapted))
    assert continued.read_config()["data"]["max_length"] == 34
    assert AutoTokenizer.from_pretrained(continued.export).get_vocab() == tokenizer.get_vocab()


def test_a_table_of_texts_becomes_a_causal_language_model(tmp_path: Path) -> None:
    source = few_texts(0, 80)
    rows = [json.dumps({"text": source.sample(row), "kind": row % 2}) for row in range(80)]
    (tmp_path / "texts.jsonl").write_text("\n".join(rows), encoding="utf-8")
    argv = [*SMALL, "--dataset", str(tmp_path / "texts.jsonl"), "--label_column", "kind"]
    run_dir = pretrain(CLM, parse(CLMConfig, TextDataConfig, [*argv, "--output_dir", str(tmp_path / "run")]))
    assert AutoModelForCausalLM.from_pretrained(run_dir.export).config.hfssl_pooling == "mean"
    (answer,) = pipeline("text-generation", model=str(run_dir.export))("the cat", max_new_tokens=5)
    assert answer["generated_text"].startswith("the cat")
    summary = run_dir.read_summary()
    assert [row["features"] for row in summary["rows"]] == ["TF-IDF", "untrained", "pretrained"]
    (example,) = summary["examples"]
    assert source_holds(source, example["prompt"])
    assert example["continued"]
    assert not example["continued"].startswith(example["prompt"])


def source_holds(source: Source, words: str) -> bool:
    """Whether a text begins with these words."""
    return any(" ".join(source.sample(row).split()).startswith(words) for row in range(len(source)))


def learns(opened: Session) -> bool:
    """Whether the loss of one batch falls when it is trained on."""
    parts, (batches,) = ready(opened), steps_of(opened, 1)
    losses = []
    for step in range(12):
        for group in parts.optimizer.param_groups:
            group["lr"] = 1e-2
        result = train_step(parts, [dict(batch) for batch in batches], step=step, progress=0.0, stop=False)
        losses.append(float(result.loss_sum / result.num_targets))
    return losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("model_type", ["roberta", "modernbert", "distilbert", "electra", "camembert"])
def test_any_masked_architecture_trains(model_type: str, tmp_path: Path) -> None:
    opened = open_small("mlm", tmp_path, method={"model_type": model_type})
    assert opened.objective.model.config.model_type == model_type
    assert opened.objective.model.config.hidden_size == 16
    assert learns(opened)


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "gpt_neox"])
def test_any_causal_architecture_trains(model_type: str, tmp_path: Path) -> None:
    opened = open_small("clm", tmp_path, method={"model_type": model_type})
    assert opened.objective.model.config.model_type == model_type
    assert learns(opened)


def test_what_can_not_work_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lets a packed document see its neighbour"):
        open_small("mlm", tmp_path, method={"model_type": "convbert"})
    with pytest.raises(ConfigError, match="mask_ratio must be in"):
        MLMConfig(mask_ratio=15)
    with pytest.raises(ConfigError, match="must be a multiple of num_attention_heads"):
        CLMConfig(hidden_size=30, num_attention_heads=4)
