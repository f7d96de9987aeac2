"""The laws of tagging words: stock's loss, whose pieces are asked, IOB2, strangers' answers, adapters, frozen bodies."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification, AutoTokenizer, pipeline

from hfssl.checkpoints.exports import write_export
from hfssl.data.texts.tagged_words import IGNORED
from hfssl.errors import ConfigError
from hfssl.models.text_head import body_of
from hfssl.runs.open_session import open_rows
from tests.support.texts_with_labels import (
    TYPES,
    batch_of,
    checkpoint,
    classes,
    disturbed,
    gradients_of,
    opened,
    run_of,
    table,
    tagged,
    trained,
)

every_type = pytest.mark.parametrize("model_type", TYPES)
TOKENS = "token_classification"


def tagging_on(model_type: str, folder: Path, rows: str | None = None, **settings: Any) -> Any:
    model = checkpoint(model_type, folder / "model")
    rows = rows or tagged(folder / "rows.jsonl")
    return opened(run_of(TOKENS, model, rows, folder / "run", **settings))


@every_type
def test_loss_and_gradients_of_tags_are_those_of_the_stock_head(model_type: str, tmp_path: Path) -> None:
    parts = tagging_on(model_type, tmp_path)
    task, batch = parts.objective.eval(), batch_of(parts)  # GPT-2's head drops a tenth whatever its config says
    output = task(batch, 0.0)
    stock = task.model(**task.inputs(batch), labels=batch["labels"]).loss
    ours = output.loss_sum / output.num_targets
    assert ours.item() == pytest.approx(stock.item(), rel=1e-6)
    own, others = gradients_of(task, ours), gradients_of(task, stock)
    assert own.keys() == others.keys()
    assert all(torch.allclose(own[name], others[name], atol=1e-6) for name in own)
    assert int(output.num_targets) == int((batch["tags"] != IGNORED).sum())


@every_type
def test_the_first_piece_of_each_word_is_asked_and_nothing_else(model_type: str, tmp_path: Path) -> None:
    rows = [{"tokens": ["cat", "catbirdmat", "bank", "bond"], "tags": ["B-PET", "O", "B-FIRM", "I-FIRM"]}] * 30
    parts = tagging_on(model_type, tmp_path, table(rows, tmp_path / "rows.jsonl"))
    batch, tokenizer = batch_of(parts, 1), parts.rows.pipeline.processor
    assert batch["input_ids"].shape[1] > 4
    pieces = [tokenizer.decode([piece]).strip() for piece in batch["input_ids"][0, batch["places"][0]].tolist()]
    assert all(word.startswith(piece) for word, piece in zip(rows[0]["tokens"], pieces, strict=True))
    asked = (batch["labels"][0] != IGNORED).nonzero()[:, 0].tolist()
    assert asked == batch["places"][0].tolist()
    assert [parts.run.method.class_names[tag] for tag in batch["labels"][0, asked].tolist()] == rows[0]["tags"]


@every_type
def test_a_byte_level_tokenizer_reads_words_as_inside_a_text(model_type: str, tmp_path: Path) -> None:
    parts = tagging_on(model_type, tmp_path)
    write_export(parts.objective.export(), tmp_path / "export")
    for tokenizer in (parts.rows.pipeline.processor, AutoTokenizer.from_pretrained(tmp_path / "export")):
        words = tokenizer(["cat", "sat", "rose"], is_split_into_words=True, add_special_tokens=False)["input_ids"]
        assert words == tokenizer(" cat sat rose", add_special_tokens=False)["input_ids"]


@every_type
def test_a_pipeline_tags_as_the_task_does(model_type: str, tmp_path: Path) -> None:
    parts = tagging_on(model_type, tmp_path)
    task, data_pipeline = parts.objective.eval(), parts.rows.pipeline
    write_export(task.export(), tmp_path / "export")
    ask = pipeline("token-classification", model=str(tmp_path / "export"), ignore_labels=[])
    sentences = open_rows(parts.run).rows["tokens"][:8]
    with torch.no_grad():
        batch = data_pipeline.eval_transform([parts.rows.examples[row] for row in range(8)])
        probabilities, answers = task.logits(batch).softmax(dim=2), task.predictions(batch)
    for row, words in enumerate(sentences):
        by_place = {one["index"]: one for one in ask([words], is_split_into_words=True)[0]}
        for place, said in zip(batch["places"][row].tolist(), answers[row][0], strict=False):
            assert by_place[place]["entity"] == said
            assert by_place[place]["score"] == pytest.approx(float(probabilities[row, place].max()), abs=1e-5)


def test_tags_are_learnt_scored_and_drawn(tmp_path: Path) -> None:
    model, rows = checkpoint("bert", tmp_path / "model"), tagged(tmp_path / "rows.jsonl")
    folder = trained(run_of(TOKENS, model, rows, tmp_path / "run", loop={"max_steps": 60}))
    summary = folder.read_summary()
    assert summary is not None
    summary = summary["scores"]
    assert summary["f1"] > 0.5
    assert summary["per_type"].keys() == {"FIRM", "PET"}
    assert (folder.figures / "entities.png").is_file()
    assert set(AutoConfig.from_pretrained(folder.export).label2id) == {"O", "B-PET", "B-FIRM", "I-FIRM"}


def test_words_beyond_the_longest_row_are_counted_and_scored_as_outside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"tokens": ["cat"] * 20, "tags": ["B-PET"] * 20}] * 20 + [{"tokens": [], "tags": []}] * 20
    file = table(rows, tmp_path / "rows.jsonl")
    parts = tagging_on("bert", tmp_path, file, max_length=12, test_share=0.1)
    num_long = sum(len(words) > 0 for words in open_rows(parts.run).rows["tokens"])
    said = capsys.readouterr().out
    assert f"{10 * num_long} of {20 * num_long} words of train lie beyond 12 tokens" in said
    assert "sentences of train have no words" in said
    batch = parts.rows.pipeline.eval_transform([parts.rows.examples[row] for row in range(len(parts.rows.examples))])
    parts.objective.model.classifier.bias.data[parts.run.method.class_names.index("B-PET")] = 1000.0
    for said_tags, true_tags in parts.objective.predictions(batch):
        assert len(said_tags) == len(true_tags) in (0, 20)
        assert said_tags == (["B-PET"] * 10 + ["O"] * 10)[: len(true_tags)]
    output = parts.objective(batch, 0.0)
    assert int(output.num_targets) == 10 * num_long
    empty = {name: tensor[batch["labels"].amax(dim=1) == IGNORED] for name, tensor in batch.items()}
    assert float(parts.objective(empty, 0.0).loss_sum) == 0.0


def test_iob1_becomes_iob2_and_other_schemes_are_refused(tmp_path: Path) -> None:
    words = ["a"] * 6
    first = {"tokens": words, "tags": ["I-X", "I-X", "B-X", "O", "I-Y", "I-X"]}
    parts = tagging_on("bert", tmp_path, table([first] * 30, tmp_path / "rows.jsonl"))
    names = parts.run.method.class_names
    true = [names[tag] for tag in batch_of(parts, 1)["tags"][0].tolist()]
    assert true == ["B-X", "I-X", "B-X", "O", "B-Y", "B-X"]
    for tags, message in {
        "NN": "has the tag NN: tags must be O, B-type and I-type",
        "S-PER": "has the tag S-PER",
    }.items():
        file = table([first, {"tokens": ["a"], "tags": [tags]}] * 20, tmp_path / "other.jsonl")
        with pytest.raises(ConfigError, match=message):
            tagging_on("bert", tmp_path, file)
    unequal = table([first, {"tokens": ["a"], "tags": ["O", "O"]}] * 20, tmp_path / "unequal.jsonl")
    with pytest.raises(ConfigError, match="has 1 words and 2 tags"):
        tagging_on("bert", tmp_path, unequal)
    outside = table([{"tokens": ["a"], "tags": ["O"]}] * 20, tmp_path / "outside.jsonl")
    with pytest.raises(ConfigError, match="there is nothing to find"):
        tagging_on("bert", tmp_path, outside)
    with pytest.raises(ConfigError, match="must hold a list of words a row"):
        tagging_on("bert", tmp_path, classes(tmp_path / "flat.jsonl"), text_column="text", label_column="label")


@pytest.mark.versions
@pytest.mark.parametrize("model_type", ["bert", "roberta", "modernbert"])
def test_an_adapter_of_a_tagger_on_a_stock_base_says_what_was_trained(model_type: str, tmp_path: Path) -> None:
    parts = tagging_on(model_type, tmp_path, adaptation="lora", lora_rank=2)
    task, batch = disturbed(parts.objective), batch_of(parts)
    write_export(task.export(), tmp_path / "export")
    torch.manual_seed(5)
    base = AutoModelForTokenClassification.from_pretrained(tmp_path / "model", num_labels=4)
    stranger = PeftModel.from_pretrained(base, tmp_path / "export").eval()
    with torch.no_grad():
        assert torch.allclose(stranger(**task.inputs(batch)).logits, task.logits(batch), atol=1e-5)


@pytest.mark.versions
def test_a_frozen_body_of_a_tagger_stays_and_its_adapter_is_scored(tmp_path: Path) -> None:
    model, rows = checkpoint("bert", tmp_path / "model"), tagged(tmp_path / "rows.jsonl")
    stock = AutoModel.from_pretrained(model).state_dict()
    frozen = trained(run_of(TOKENS, model, rows, tmp_path / "frozen", adaptation="frozen"))
    body = body_of(AutoModelForTokenClassification.from_pretrained(frozen.export)).state_dict()
    assert all(torch.equal(body[name], stock[name]) for name in body)
    adapted = trained(run_of(TOKENS, model, rows, tmp_path / "lora", adaptation="lora", lora_rank=2))
    summary = adapted.read_summary()
    assert summary is not None
    summary = summary["scores"]
    assert summary["rows"] == 10
