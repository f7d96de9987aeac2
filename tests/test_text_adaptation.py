"""The laws of sequence classifiers that are trained in part: frozen bodies, stored inputs, adapters."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
)

from hfssl.checkpoints.exports import write_export
from hfssl.errors import ConfigError
from hfssl.models import head_reading
from hfssl.models.text_head import body_of
from hfssl.runs.open_session import open_rows
from tests.support.texts_with_labels import (
    TYPES,
    batch_of,
    checkpoint,
    classes,
    disturbed,
    numbers,
    opened,
    opened_on,
    run_of,
    trained,
)

SEQUENCE = "sequence_classification"
every_type = pytest.mark.parametrize("model_type", TYPES)


@every_type
@pytest.mark.parametrize("data", [classes, numbers])
def test_frozen_heads_say_on_stored_inputs_what_the_whole_model_says(
    model_type: str, data: Any, tmp_path: Path
) -> None:
    parts = opened_on(model_type, tmp_path, data, adaptation="frozen")
    task, stored = parts.objective.eval(), batch_of(parts)
    whole = parts.rows.pipeline.whole
    held = whole.prepare(open_rows(parts.run))
    with torch.no_grad():
        logits = task.logits(whole.eval_transform([held[row] for row in range(8)]))
        assert torch.allclose(task.logits(stored), logits, atol=1e-5)
    assert stored["head_inputs"].shape == (8, 1, 16)
    assert stored["labels"].is_floating_point() == (data is numbers)


def test_a_frozen_body_stays_bit_by_bit_while_the_head_and_bert_s_pooler_learn(tmp_path: Path) -> None:
    model = checkpoint("bert", tmp_path / "model")
    rows = classes(tmp_path / "rows.jsonl")
    run = run_of(SEQUENCE, model, rows, tmp_path / "run", adaptation="frozen", text_column="text")
    before = opened(run).objective.model.state_dict()
    after = AutoModelForSequenceClassification.from_pretrained(trained(run).export).state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {
        f"{layer}.{kind}" for layer in ("bert.pooler.dense", "classifier") for kind in ("weight", "bias")
    }


def test_a_head_that_reads_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_reading, "_READINGS", {"last token": head_reading._READINGS["last token"]})
    with pytest.raises(ConfigError, match="use --adaptation lora or full"):
        opened_on("bert", tmp_path, adaptation="frozen")


@pytest.mark.versions
@pytest.mark.parametrize("model_type", ["bert", "roberta", "modernbert"])
def test_an_adapter_on_a_stock_base_says_what_was_trained(model_type: str, tmp_path: Path) -> None:
    parts = opened_on(model_type, tmp_path, adaptation="lora", lora_rank=2)
    task, batch = disturbed(parts.objective), batch_of(parts)
    write_export(task.export(), tmp_path / "export")
    assert not (tmp_path / "export" / "model.safetensors").exists()
    torch.manual_seed(5)  # another fresh head
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model", num_labels=2)
    stranger = PeftModel.from_pretrained(base, tmp_path / "export").eval()
    with torch.no_grad():
        assert torch.allclose(stranger(**task.inputs(batch)).logits, task.logits(batch), atol=1e-5)


@pytest.mark.versions
@every_type
def test_merged_adapters_say_what_unmerged_ones_say(model_type: str, tmp_path: Path) -> None:
    parts = opened_on(model_type, tmp_path, adaptation="lora", lora_rank=2, merge=True)
    task, batch = disturbed(parts.objective), batch_of(parts)
    write_export(task.export(), tmp_path / "export")
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "export").eval()
    base = AutoModel.from_pretrained(tmp_path / "model").state_dict()
    body = body_of(merged).state_dict()
    assert any(not torch.equal(body[name], base[name]) for name in body if name in base)
    with torch.no_grad():
        assert torch.allclose(merged(**task.inputs(batch)).logits, task.logits(batch), atol=1e-5)


@pytest.mark.versions
def test_an_adapter_run_is_scored_by_its_export(tmp_path: Path) -> None:
    model = checkpoint("bert", tmp_path / "model")
    rows = classes(tmp_path / "rows.jsonl")
    folder = trained(run_of(SEQUENCE, model, rows, tmp_path / "run", adaptation="lora", text_column="text"))
    summary = folder.read_summary()
    assert summary is not None
    summary = summary["scores"]
    assert summary["rows"] == 10


def test_an_adapter_can_not_bring_a_padding_token(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"names no padding token.*add --merge"):
        opened_on("gpt2", tmp_path, adaptation="lora")


@pytest.mark.versions
def test_an_adapter_is_merged_before_it_is_started_from(tmp_path: Path) -> None:
    parts = opened_on("bert", tmp_path, adaptation="lora")
    write_export(parts.objective.export(), tmp_path / "export")
    with pytest.raises(ConfigError, match="is an adapter: name a whole model"):
        opened(run_of(SEQUENCE, str(tmp_path / "export"), str(tmp_path / "rows.jsonl"), tmp_path / "next"))
