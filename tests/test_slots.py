"""Logits where they are needed: the stock head at chosen positions, and the stock loss of it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hfssl.models.early_positions import earliest_cut
from hfssl.nn.masked_positions import causal_loss, logits_at, masked_position_loss
from tests.support.language_models import CAUSAL, MASKED, VOCABULARY, tiny, tiny_causal, tiny_masked, token_ids

ROWS, LENGTH = 3, 20
SLOTS = torch.tensor([[4, 0, 19], [7, 7, 3], [1, 2, 18]])


def gathered(logits_BTV: Tensor) -> Tensor:
    return torch.stack([row[slots] for row, slots in zip(logits_BTV, SLOTS, strict=True)])


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_close_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("model_type", [*MASKED, *CAUSAL])
def test_logits_at_slots_are_the_stock_logits(model_type: str) -> None:
    model = tiny(model_type)
    inputs = {"input_ids": token_ids(ROWS, LENGTH)}
    full = model(**inputs).logits
    assert torch.allclose(logits_at(model, SLOTS, inputs), gathered(full), atol=1e-6)
    assert torch.equal(model(**inputs).logits, full)


@pytest.mark.parametrize("is_early", [False, True])
@pytest.mark.parametrize("model_type", MASKED)
def test_slot_loss_is_the_stock_loss(model_type: str, is_early: bool) -> None:
    model = tiny_masked(model_type)
    cut = earliest_cut(model) if is_early else None
    inputs = {"input_ids": token_ids(ROWS, LENGTH)}
    slots = torch.tensor([[4, 0, 19], [7, 8, 3], [1, 2, 18]])
    labels_BS = torch.tensor([[5, 6, 7], [8, -100, -100], [9, 10, 11]])
    labels_BT = torch.full((ROWS, LENGTH), -100).scatter(1, slots, labels_BS)
    stock = model(**inputs, labels=labels_BT).loss
    loss_sum, num_targets = masked_position_loss(logits_at(model, slots, inputs, cut=cut), labels_BS)
    assert int(num_targets) == 7
    assert (loss_sum / num_targets).item() == pytest.approx(stock.item(), abs=1e-6)
    assert_close_gradients(gradients(model, loss_sum / num_targets), gradients(model, stock))


def test_the_last_mlp_runs_at_the_slots_alone() -> None:
    model = tiny_masked("bert")
    cut = earliest_cut(model)
    assert cut == "bert.encoder.layer.1.attention.output.LayerNorm"
    lengths = []
    model.bert.encoder.layer[1].intermediate.register_forward_hook(lambda *parts: lengths.append(parts[2].shape[1]))
    logits_at(model, SLOTS, {"input_ids": token_ids(ROWS, LENGTH)}, cut=cut)
    assert lengths == [SLOTS.shape[1]]


def test_a_cut_that_changes_the_logits_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_masked("bert")
    block = model.bert.encoder.layer[1].output

    def looks_at_neighbours(hidden: Tensor, residual: Tensor) -> Tensor:
        return hidden.new_ones(1) * hidden[..., :16] + residual.mean(dim=1, keepdim=True)

    monkeypatch.setattr(block, "forward", looks_at_neighbours)
    assert earliest_cut(model) not in (None, "bert.encoder.layer.1.attention.output.LayerNorm")


@pytest.mark.parametrize("model_type", CAUSAL)
@pytest.mark.parametrize("chunk", [7, 1000])
def test_causal_loss_is_the_stock_loss(model_type: str, chunk: int) -> None:
    model = tiny_causal(model_type)
    tokens = token_ids(ROWS, LENGTH)
    inputs = {"input_ids": tokens, "use_cache": False}
    stock = model(**inputs, labels=tokens).loss
    labels_BT = torch.cat([tokens[:, 1:], torch.full((ROWS, 1), -100)], dim=1)
    loss_sum, num_targets = causal_loss(model, inputs, labels_BT, most_logits=chunk * VOCABULARY)
    assert int(num_targets) == ROWS * (LENGTH - 1)
    assert (loss_sum / num_targets).item() == pytest.approx(stock.item(), abs=1e-6)
    assert_close_gradients(gradients(model, loss_sum / num_targets), gradients(model, stock))


def test_causal_loss_never_holds_the_logits_of_all_tokens() -> None:
    model = tiny_causal("llama")
    tokens = token_ids(ROWS, LENGTH)
    widest = 0

    def watch(module: Any, arguments: Any, outputs: Tensor) -> None:
        nonlocal widest
        widest = max(widest, outputs.numel())

    model.get_output_embeddings().register_forward_hook(watch)
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * (tensor.shape[-1] == VOCABULARY)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loss_sum, _ = causal_loss(model, {"input_ids": tokens}, tokens, most_logits=7 * VOCABULARY)
    loss_sum.backward()
    assert widest == 7 * VOCABULARY
    assert kept == 0


@pytest.mark.parametrize("causal", [False, True])
def test_without_targets_the_loss_is_a_zero_with_a_gradient(causal: bool) -> None:
    model = tiny_causal("gpt2") if causal else tiny_masked("bert")
    inputs = {"input_ids": token_ids(ROWS, LENGTH)}
    if causal:
        loss_sum, num_targets = causal_loss(model, inputs, torch.full((ROWS, LENGTH), -100))
    else:
        loss_sum, num_targets = masked_position_loss(logits_at(model, SLOTS, inputs), torch.full_like(SLOTS, -100))
    assert (loss_sum.item(), int(num_targets)) == (0.0, 0)
    assert all(float(gradient.abs().max()) == 0 for gradient in gradients(model, loss_sum).values())


def test_loss_is_summed_in_float32_under_autocast() -> None:
    model, inputs, labels = tiny_masked("bert"), {"input_ids": token_ids(ROWS, LENGTH)}, torch.full_like(SLOTS, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = logits_at(model, SLOTS, inputs)
        loss_sum, _ = masked_position_loss(logits, labels)
        full = gathered(model(**inputs).logits)
    assert logits.dtype == torch.bfloat16
    assert loss_sum.dtype == torch.float32
    assert torch.allclose(logits.float(), full.float(), atol=2e-2)
    assert masked_position_loss(logits, labels)[0].item() == pytest.approx(loss_sum.item(), rel=1e-6)


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "llama"])
def test_recomputed_activations_change_nothing(model_type: str) -> None:
    tokens = token_ids(ROWS, LENGTH)

    def losses_of(model: Any) -> Tensor:
        if model_type == "bert":
            return masked_position_loss(logits_at(model, SLOTS, {"input_ids": tokens}), torch.full_like(SLOTS, 5))[0]
        inputs = {"input_ids": tokens, "use_cache": False}
        return causal_loss(model, inputs, tokens, most_logits=7 * VOCABULARY)[0]

    model = (tiny_masked if model_type == "bert" else tiny_causal)(model_type).train()
    plain = gradients(model, losses_of(model))
    model.gradient_checkpointing_enable()
    assert_close_gradients(gradients(model, losses_of(model)), plain)


@pytest.mark.parametrize("as_tuple", [False, True])
def test_body_may_answer_with_a_tuple_or_a_model_output(as_tuple: bool) -> None:
    model, inputs = tiny_masked("fnet"), {"input_ids": token_ids(ROWS, LENGTH)}
    full = model(**inputs).logits
    model.config.return_dict = not as_tuple
    assert isinstance(model.base_model(**inputs), tuple) == as_tuple
    assert torch.allclose(logits_at(model, SLOTS, inputs), gathered(full), atol=1e-6)


def test_nothing_is_left_behind_after_an_error() -> None:
    masked, causal, tokens = tiny_masked("bert"), tiny_causal("llama"), token_ids(ROWS, LENGTH)
    full = masked(input_ids=tokens).logits
    with pytest.raises(IndexError):
        logits_at(masked, SLOTS, {"input_ids": tokens + VOCABULARY})
    with pytest.raises(RuntimeError):
        logits_at(masked, SLOTS + LENGTH, {"input_ids": tokens})
    assert torch.equal(masked(input_ids=tokens).logits, full)
    full = causal(input_ids=tokens).logits
    with pytest.raises(IndexError):
        causal_loss(causal, {"input_ids": tokens}, tokens + VOCABULARY)
    assert torch.equal(causal(input_ids=tokens).logits, full)
    assert "forward" not in vars(causal.base_model)


def test_a_model_without_a_head_is_named() -> None:
    with pytest.raises(ValueError, match="BertModel has no language-model head"):
        logits_at(tiny_masked("bert").base_model, SLOTS, {"input_ids": token_ids(ROWS, LENGTH)})
