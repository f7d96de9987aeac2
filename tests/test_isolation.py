"""Documents that share a row do not see each other: each is computed, and learnt from, as if it stood alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hfssl.errors import ConfigError
from hfssl.models import document_masking as document_masking
from hfssl.models.document_masking import check_document_masking, packed_attention, packed_inputs, positions_of
from tests.support.language_models import (
    CAUSAL,
    EAGER_ONLY,
    MASKED,
    VOCABULARY,
    tiny,
    tiny_causal,
    tiny_masked,
    token_ids,
)

LENGTHS = [[13, 5, 14], [1, 20], []]  # pieces of each row, some longer than the sliding windows of the tiny models
LENGTH = 34
SEGMENTS = torch.zeros(len(LENGTHS), LENGTH, dtype=torch.int64)
PLACES: list[tuple[int, slice]] = []
for _row, _lengths in enumerate(LENGTHS):
    _start = 0
    for _number, _length in enumerate(_lengths, start=1):
        SEGMENTS[_row, _start : _start + _length] = _number
        PLACES.append((_row, slice(_start, _start + _length)))
        _start += _length
TOKENS = token_ids(len(LENGTHS), LENGTH).masked_fill(SEGMENTS == 0, 1)
ARCHITECTURES = [
    (model_type, backend)
    for model_type in (*MASKED, *CAUSAL)
    for backend in ("sdpa", "eager")
    if backend == "eager" or model_type not in EAGER_ONLY
]
every_architecture = pytest.mark.parametrize(("model_type", "backend"), ARCHITECTURES)


def packed_logits(model: Any, tokens: Tensor, causal: bool) -> Tensor:
    logits: Tensor = model(input_ids=tokens, **packed_inputs(model, SEGMENTS, causal=causal)).logits
    return logits


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_positions_count_from_the_start_of_each_piece() -> None:
    segments = torch.tensor([[1, 1, 1, 2, 2, 0, 0], [1, 2, 3, 3, 3, 3, 4], [0, 0, 0, 0, 0, 0, 0]])
    expected = [[0, 1, 2, 0, 1, 0, 0], [0, 0, 0, 1, 2, 3, 0], [0] * 7]
    assert positions_of(segments).tolist() == expected
    assert positions_of(segments).dtype == torch.int64


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 0, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_token_sees_what_a_slow_loop_lets_it_see(causal: bool, window: int | None, dtype: torch.dtype) -> None:
    mask = packed_attention(SEGMENTS, causal=causal, dtype=dtype, window=window)
    assert mask.shape == (len(LENGTHS), 1, LENGTH, LENGTH)
    assert mask.dtype == dtype
    for row in range(len(LENGTHS)):
        pieces = SEGMENTS[row].tolist()
        for i in range(LENGTH):
            for j in range(LENGTH):
                sees = pieces[i] == pieces[j] > 0 and (j <= i or not causal)
                sees = (sees and (window is None or abs(i - j) <= window)) or i == j
                assert float(mask[row, 0, i, j]) == (0.0 if sees else torch.finfo(dtype).min)


@every_architecture
def test_packed_is_separate(model_type: str, backend: str) -> None:
    model = tiny(model_type, backend)
    packed = packed_logits(model, TOKENS, model_type in CAUSAL)
    for row, place in PLACES:
        alone = model(input_ids=TOKENS[row : row + 1, place]).logits[0]
        assert torch.allclose(packed[row, place], alone, rtol=1e-5, atol=1e-5), (row, place)
    assert bool(packed.isfinite().all())


def test_no_cache_of_keys_and_values_is_kept_while_training() -> None:
    model = tiny("llama")
    outputs = model.base_model(input_ids=TOKENS, **packed_inputs(model, SEGMENTS, causal=True))
    assert outputs.past_key_values is None


@every_architecture
def test_replacing_a_document_changes_no_other(model_type: str, backend: str) -> None:
    model = tiny(model_type, backend)
    before = packed_logits(model, TOKENS, model_type in CAUSAL)
    row, replaced = PLACES[1]
    tokens = TOKENS.clone()
    tokens[row, replaced] = token_ids(1, 5, seed=1)
    after = packed_logits(model, tokens, model_type in CAUSAL)
    assert not torch.allclose(after[row, replaced], before[row, replaced], atol=1e-2)
    others = [place for place in PLACES if place != (row, replaced)]
    assert all(torch.allclose(after[row, place], before[row, place], rtol=0, atol=1e-6) for row, place in others)


@every_architecture
def test_packed_gradients_are_separate_gradients(model_type: str, backend: str) -> None:
    model = tiny(model_type, backend).double()
    weights = torch.randn(*TOKENS.shape, VOCABULARY, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits = packed_logits(model, TOKENS, model_type in CAUSAL)
    packed = gradients(model, (logits * weights)[SEGMENTS > 0].sum())
    alone = [
        (model(input_ids=TOKENS[row : row + 1, place]).logits[0] * weights[row, place]).sum() for row, place in PLACES
    ]
    separate = gradients(model, torch.stack(alone).sum())
    assert packed.keys() == separate.keys()
    for name, gradient in separate.items():
        assert float((packed[name] - gradient).norm()) <= 1e-6 * max(float(gradient.norm()), 1.0), name


@every_architecture
def test_stock_models_pass_the_check(model_type: str, backend: str) -> None:
    model = tiny(model_type, backend).train()
    first = next(iter(model.children())).eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    state = torch.get_rng_state()
    check_document_masking(model, causal=model_type in CAUSAL)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not first.training


@pytest.mark.parametrize(
    ("build", "model_type", "causal", "reason"),
    [
        (tiny_masked, "convbert", False, "see its neighbour"),  # convolutions over the row
        (tiny_masked, "fnet", False, "see its neighbour"),  # a Fourier transform of the row
        (tiny_causal, "mamba", True, "cannot compute"),  # a state that runs along the row
        (tiny_causal, "bloom", True, "cannot compute"),  # distances from a flat mask
        (tiny_causal, "llama", False, "not as if alone"),
        (tiny_masked, "bert", True, "not as if alone"),
    ],
)
def test_a_model_that_can_not_keep_documents_apart_is_refused(
    build: Callable[[str], Any], model_type: str, causal: bool, reason: str
) -> None:
    model = build(model_type)
    with pytest.raises(ConfigError, match=rf"{type(model).__name__}.*{reason}.*--no_packing"):
        check_document_masking(model, causal=causal)


def leaking(*arguments: Any, **settings: Any) -> Tensor:
    return torch.zeros_like(packed_attention(*arguments, **settings))


def without_window(*arguments: Any, **settings: Any) -> Tensor:
    return packed_attention(*arguments, **settings | {"window": None})


@pytest.mark.parametrize(
    ("model_type", "part", "broken", "reason"),
    [
        ("bert", "packed_attention", leaking, "see its neighbour"),
        ("modernbert", "packed_attention", without_window, "not as if alone"),
        ("mistral", "packed_attention", without_window, "not as if alone"),
        ("roberta", "_first_position", lambda body: 0, "not as if alone"),
        (
            "gpt2",
            "positions_of",
            lambda segments: torch.arange(segments.shape[1]).expand_as(segments),
            "not as if alone",
        ),
        ("bert", "packed_attention", lambda *a, **k: packed_attention(*a, **k) * torch.nan, "see its neighbour"),
    ],
)
def test_the_check_sees_wrong_masks_windows_and_positions(
    model_type: str, part: str, broken: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_masking, part, broken)
    with pytest.raises(ConfigError, match=reason):
        check_document_masking(tiny(model_type), causal=model_type in CAUSAL)


def test_layers_and_backends_without_a_dense_mask_are_named() -> None:
    model = tiny_masked("bert")
    model.config._attn_implementation = "flex_attention"
    with pytest.raises(ConfigError, match="sdpa or eager attention, not flex_attention"):
        packed_inputs(model, SEGMENTS, causal=False)
    model = tiny_causal("qwen3")
    model.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(ConfigError, match=r"^packing cannot .*linear_attention"):
        check_document_masking(model, causal=True)


def test_positions_start_behind_the_padding_index_where_the_model_starts_there() -> None:
    starts = {
        name: int(packed_inputs(tiny_masked(name), SEGMENTS, causal=False)["position_ids"].min())
        for name in ("bert", "roberta", "xlm-roberta", "mpnet")
    }
    assert starts == {"bert": 0, "roberta": 2, "xlm-roberta": 2, "mpnet": 2}


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("model_type", ["modernbert", "llama", "bert"])
def test_documents_stay_apart_under_autocast(model_type: str, backend: str) -> None:
    model, causal = tiny(model_type, backend), model_type in CAUSAL
    tokens = TOKENS.clone()
    tokens[0, PLACES[0][1]] = token_ids(1, 13, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        masks = packed_inputs(model, SEGMENTS, causal=causal)["attention_mask"]
        before, after = packed_logits(model, TOKENS, causal), packed_logits(model, tokens, causal)
    assert {mask.dtype for mask in (masks.values() if isinstance(masks, dict) else [masks])} == {torch.bfloat16}
    assert bool(before.isfinite().all())
    assert torch.equal(before[0, 13:], after[0, 13:])
    assert not torch.equal(before[0, :13], after[0, :13])


@pytest.mark.parametrize("model_type", ["modernbert", "qwen2", "bert"])
def test_recomputed_activations_change_nothing(model_type: str) -> None:
    model, causal = tiny(model_type).train(), model_type in CAUSAL
    plain = gradients(model, packed_logits(model, TOKENS, causal)[SEGMENTS > 0].square().sum())
    model.gradient_checkpointing_enable()
    recomputed = gradients(model, packed_logits(model, TOKENS, causal)[SEGMENTS > 0].square().sum())
    assert all(torch.allclose(recomputed[name], gradient, rtol=1e-5, atol=1e-6) for name, gradient in plain.items())
