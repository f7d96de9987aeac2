"""Adapters in a frozen model: they start as nothing, they alone learn, and nothing else of a run's laws changes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, BertModel
from transformers.pytorch_utils import Conv1D

from hfssl.errors import ConfigError
from hfssl.methods.mlm.config import MLMConfig
from hfssl.models.document_masking import check_document_masking
from hfssl.models.lora import base_tensors, has_adapter, merged, target_names, with_adapter
from hfssl.nn.masked_positions import logits_at
from hfssl.run_dir import RunDir
from hfssl.runs.planning import opening_lines
from hfssl.training.checkpoint import read_state, save
from hfssl.training.rehearsal import rehearse
from hfssl.training.start import Start
from hfssl.training.step import train_step
from tests.support.adapters import METHOD_OF, fill_adapters, open_adapted_run, some_ids, trained, write_base
from tests.support.laboratory import differing, ready, record_gradients, relative_error, state_of, steps_of
from tests.support.language_models import tiny
from tests.support.ranks import Ranks

pytestmark = pytest.mark.versions
every_type = pytest.mark.parametrize("model_type", METHOD_OF)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {model_type: write_base(model_type, root / model_type) for model_type in METHOD_OF}


@every_type
def test_the_first_loss_is_that_of_the_base_model(model_type: str, bases: dict[str, Path], tmp_path: Path) -> None:
    losses = []
    for lora in ({"lora": False, "lora_rank": None}, {}):
        opened = open_adapted_run(bases[model_type], tmp_path, method=lora)
        (batch,) = steps_of(opened, 1)[0]
        losses.append(float(opened.objective(batch, 0.0).loss_sum.detach()))
        assert has_adapter(opened.objective.model) == (not lora)
    assert losses[0] == losses[1]


@every_type
def test_adapters_alone_learn_and_the_base_stays_bitwise(
    model_type: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    opened = open_adapted_run(bases[model_type], tmp_path)
    before = {name: tensor.clone() for name, tensor in base_tensors(opened.objective.model).items()}
    parts = trained(opened)
    gradients = record_gradients(parts.objective)
    train_step(parts, steps_of(opened, 1)[0], step=3, progress=0.5, stop=False)
    trainable = {name for name, parameter in parts.objective.named_parameters() if parameter.requires_grad}
    assert trainable == {name for name, _ in parts.objective.named_parameters() if ".lora_" in name}
    assert gradients.keys() == trainable
    assert all(bool(gradient.any()) for gradient in gradients.values())
    assert {id(p) for group in parts.optimizer.param_groups for p in group["params"]} == {
        id(p) for p in parts.objective.parameters() if p.requires_grad
    }
    assert differing(before, base_tensors(opened.objective.model)) == []


@every_type
def test_auto_means_every_linear_layer_of_the_body_and_none_of_the_head(model_type: str) -> None:
    model = tiny(model_type)
    body = {name for name, module in model.base_model.named_modules() if isinstance(module, (nn.Linear, Conv1D))}
    chosen = target_names(model, ["auto"])
    assert {name.split(".", 1)[1] for name in chosen} == body
    assert len(body) == len(chosen) >= 8
    kind = Conv1D if model_type == "gpt2" else nn.Linear
    assert all(isinstance(model.get_submodule(name), kind) for name in chosen)


def test_named_targets_and_no_others_are_adapted(bases: dict[str, Path], tmp_path: Path) -> None:
    opened = open_adapted_run(
        bases["bert"], tmp_path, method={"lora_targets": ("query", "output.dense"), "lora_dropout": 0.5}
    )
    adapted = {name.split(".lora_")[0] for name, _ in opened.objective.model.named_parameters() if ".lora_" in name}
    layers = ("attention.self.query", "attention.output.dense", "output.dense")
    assert adapted == {f"bert.encoder.layer.{number}.{layer}" for number in (0, 1) for layer in layers}
    assert opened.objective.model.get_submodule(f"{min(adapted)}.lora_dropout.default").p == 0.5


def test_a_layer_of_the_same_name_that_is_not_linear_is_left_alone() -> None:
    model = tiny("bert")
    model.bert.encoder.layer[1].attention.self.query = nn.Identity()
    chosen = target_names(model, ["auto"])
    with_adapter(model, MLMConfig(lora=True))
    adapted = {name.split(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name}
    assert adapted == set(chosen)
    assert "bert.encoder.layer.0.attention.self.query" in adapted
    assert len(adapted) == 11


def test_the_share_that_is_trained_is_said(bases: dict[str, Path], tmp_path: Path) -> None:
    opened = open_adapted_run(bases["bert"], tmp_path, method={"lora_rank": 2, "lora_targets": ("query",)})
    total = sum(tensor.numel() for tensor in opened.objective.parameters())
    line = next(line for line in opening_lines(opened) if line.startswith("model"))
    assert line.endswith(f"0.00 M trainable parameters, {128 / total:.2%} of all 0.01 M")


@every_type
def test_adapted_layers_keep_packed_documents_apart(model_type: str, bases: dict[str, Path], tmp_path: Path) -> None:
    opened = open_adapted_run(bases[model_type], tmp_path)
    fill_adapters(opened)
    check_document_masking(opened.objective.model, causal=METHOD_OF[model_type] == "clm")


@every_type
def test_the_head_sees_the_chosen_slots_of_an_adapted_body(
    model_type: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    opened = open_adapted_run(bases[model_type], tmp_path)
    fill_adapters(opened)
    model, ids = opened.objective.model.eval(), some_ids(opened)
    slots = torch.tensor([[1, 5], [0, 11]])
    with torch.no_grad():
        whole, chosen = model(input_ids=ids).logits, logits_at(model, slots, {"input_ids": ids})
    assert torch.allclose(whole.gather(1, slots[:, :, None].expand(-1, -1, whole.shape[2])), chosen, atol=1e-5)


@every_type
def test_merging_adds_what_the_adapters_compute(model_type: str, bases: dict[str, Path], tmp_path: Path) -> None:
    opened = open_adapted_run(bases[model_type], tmp_path)
    fill_adapters(opened)
    model, ids = opened.objective.model.eval(), some_ids(opened)
    whole = merged(model)
    stock = {name: tensor.shape for name, tensor in base_tensors(model).items()}
    assert {name: tensor.shape for name, tensor in whole.state_dict().items()} == stock
    with torch.no_grad():
        logits, from_whole = model(input_ids=ids).logits, whole(input_ids=ids).logits
        base = type(model).from_pretrained(bases[model_type]).eval()(input_ids=ids).logits
    assert torch.allclose(logits, from_whole, atol=1e-5)
    assert float((logits - base).abs().max()) > 1e-2
    assert has_adapter(model), "merging leaves the trained model alone"


def gradients_of(base: Path, folder: Path, loop: dict[str, Any]) -> tuple[float, dict[str, Tensor]]:
    """(loss, joint gradients) of the first global batch of filled adapters, in float64."""
    opened = open_adapted_run(base, folder, **loop)
    fill_adapters(opened)
    parts = ready(opened, torch.float64)
    gradients = record_gradients(parts.objective)
    result = train_step(parts, steps_of(opened, 1)[0], step=0, progress=0.0, stop=False)
    return float(result.loss_sum / result.num_targets), gradients


@pytest.mark.parametrize("model_type", ["bert", "gpt2"])
def test_accumulation_and_two_processes_equal_one_big_batch(
    model_type: str, bases: dict[str, Path], tmp_path: Path, ranks: Ranks
) -> None:
    alone = gradients_of(bases[model_type], tmp_path, {"per_device_batch_size": 8})
    others = [gradients_of(bases[model_type], tmp_path, {"per_device_batch_size": 1})]
    others += ranks.two(gradients_of, bases[model_type], tmp_path, {"per_device_batch_size": 2})
    for loss, gradients in others:
        assert abs(loss - alone[0]) <= 1e-8 * abs(alone[0])
        assert relative_error(alone[1], gradients) <= 1e-8


@every_type
def test_gradient_checkpointing_keeps_fewer_bytes_and_the_same_gradients(
    model_type: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    kept = []
    for flag in (False, True):
        opened = open_adapted_run(bases[model_type], tmp_path, gradient_checkpointing=flag)
        batch = steps_of(opened, 1)[0][0]
        kept.append(rehearse(opened.accelerator, opened.objective, opened.rows.pipeline.augment, batch).saved_bytes)
    assert kept[1] < 0.8 * kept[0]
    plain, again = (
        gradients_of(bases[model_type], tmp_path, {"gradient_checkpointing": flag}) for flag in (False, True)
    )
    assert relative_error(plain[1], again[1]) <= 1e-12


def test_a_rebuilt_session_goes_on_bitwise_though_the_base_has_changed(tmp_path: Path) -> None:
    base = write_base("bert", tmp_path / "bert")

    def steps(first: int, last: int, started: Start | None, save_at: int | None) -> dict[str, Tensor]:
        opened = open_adapted_run(base, tmp_path, started, method={"lora_dropout": 0.1}, per_device_batch_size=4)
        parts = ready(opened)
        for step, batches in enumerate(steps_of(opened, last)):
            if step < first:
                continue
            for group in parts.optimizer.param_groups:
                group["lr"] = 1e-2
            train_step(parts, batches, step=step, progress=step / 8, stop=False)
        if save_at is not None:
            opened.state.step = save_at
            save(parts.accelerator, RunDir(tmp_path), opened.state, keep=2)
        return state_of(parts)

    unbroken = steps(0, 6, None, None)
    steps(0, 3, None, save_at=3)
    spoilt = BertForMaskedLM.from_pretrained(base)
    torch.nn.init.normal_(spoilt.bert.encoder.layer[0].output.dense.weight)
    spoilt.save_pretrained(base)
    resumed = steps(3, 6, Start(RunDir(tmp_path), read_state(RunDir(tmp_path), 3), []), None)
    assert differing(unbroken, resumed) == []


def test_a_base_in_bf16_with_a_padded_vocabulary_gets_float32_adapters(tmp_path: Path) -> None:
    base = write_base("bert", tmp_path / "bert")
    model = BertForMaskedLM.from_pretrained(base)
    model.resize_token_embeddings(model.config.vocab_size + 12)
    model.bfloat16().save_pretrained(base)
    opened = open_adapted_run(base, tmp_path)
    dtypes = {".lora_" in name: parameter.dtype for name, parameter in opened.objective.named_parameters()}
    assert dtypes == {True: torch.float32, False: torch.bfloat16}
    assert opened.objective.model.config.vocab_size == len(opened.rows.pipeline.processor) + 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora_rank": 16}, "lora_rank has no effect without --lora"),
        ({"lora_targets": ("auto",)}, "lora_targets has no effect without --lora"),
        ({"lora_dropout": 0.0}, "lora_dropout has no effect without --lora"),
        ({"merge": True}, "merge has no effect without --lora"),
        ({"lora": True, "lora_rank": 0}, "lora_rank must be above 0, got 0"),
        ({"lora": True, "lora_alpha": -1}, "lora_alpha must be above 0, got -1"),
        (
            {"lora": True, "lora_targets": ("auto", "query")},
            "must be auto by itself or names of layers, got auto query",
        ),
        ({"lora": True, "lora_dropout": 1.0}, r"lora_dropout must be in \[0, 1\), got 1"),
    ],
)
def test_settings_that_can_not_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MLMConfig(**settings)


def test_what_can_not_be_adapted_is_said_in_a_line(bases: dict[str, Path], tmp_path: Path) -> None:
    named = "querry is no linear layer of the model's body; there are dense, key, query, value, or auto"
    with pytest.raises(ConfigError, match=named):
        open_adapted_run(bases["bert"], tmp_path, method={"lora_targets": ("querry", "value")})
    with pytest.raises(ConfigError, match="decoder is no linear layer of the model's body"):
        open_adapted_run(bases["bert"], tmp_path, method={"lora_targets": ("decoder",)})
    empty = BertForMaskedLM(BertConfig(vocab_size=20, hidden_size=8, num_attention_heads=1, num_hidden_layers=0))
    with pytest.raises(ConfigError, match="the body of BertForMaskedLM has no linear layer to adapt"):
        target_names(empty, ["auto"])
    BertModel.from_pretrained(bases["bert"]).save_pretrained(tmp_path / "bert" / "headless")
    with pytest.raises(ConfigError, match=r"lacks weights of BertForMaskedLM \(cls\.predictions"):
        open_adapted_run(tmp_path / "bert" / "headless", tmp_path)
