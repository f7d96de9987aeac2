"""Several documents in one row, each computed by a stock model as if it stood alone. B rows, T tokens of a row.

`segments_BT` (int64) numbers the pieces of a row: 1, 2, ... and 0 on padding; a piece is contiguous. A block-diagonal mask
keeps pieces apart, positions restart in each. What a model needs for that is read off its signature and its config,
not off its name, and `check_document_masking` tries it before a run: a model that leaks is refused.

The mask is additive, 0 and the dtype's least number: boolean masks leak on eager attention, -inf gives NaN there.
"""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from hfssl.errors import ConfigError
from hfssl.nn.evaluating import evaluating

_BACKENDS = ("sdpa", "eager")  # the others take no dense mask
_LONGEST_TRIED_WINDOW = 256
_FORWARD_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)
_ALTERNATIVE = "use --no_packing, or another --model_config"


def positions_of(segments_BT: Tensor) -> Tensor:
    """The place of each token within its piece, 0 on padding; (B, T) int64."""
    places_T = torch.arange(segments_BT.shape[1], device=segments_BT.device)
    starts_BT = torch.ones_like(segments_BT, dtype=torch.bool)
    starts_BT[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    first_BT = torch.where(starts_BT, places_T, 0).cummax(dim=1).values
    return torch.where(segments_BT > 0, places_T - first_BT, 0)


def packed_attention(segments_BT: Tensor, *, causal: bool, dtype: torch.dtype, window: int | None = None) -> Tensor:
    """The additive mask (B, 1, T, T): 0 where token i (dim 2) may look at token j (dim 3), else the least finite number.

    It may within its own piece, where `causal` not ahead, and at most `window` tokens away. A padding token sees itself,
    so that no row of the softmax is empty.
    """
    places_T = torch.arange(segments_BT.shape[1], device=segments_BT.device)
    distances_TT = places_T[:, None] - places_T[None, :]
    near_TT = torch.ones_like(distances_TT, dtype=torch.bool) if window is None else distances_TT.abs() <= window
    if causal:
        near_TT &= distances_TT >= 0
    same_BTT = (segments_BT[:, :, None] == segments_BT[:, None, :]) & (segments_BT > 0)[:, :, None]
    seen_BTT = (same_BTT & near_TT) | (distances_TT == 0)
    hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=segments_BT.device)
    return torch.where(seen_BTT, torch.zeros_like(hidden), hidden)[:, None]


def packed_inputs(model: PreTrainedModel, segments_BT: Tensor, *, causal: bool) -> dict[str, Any]:
    """Keyword arguments, in addition to `input_ids`, with which `model` or its `base_model` computes every piece on its own.

    Raises:
        ConfigError: the attention backend or a kind of layer takes no dense mask.
    """
    config = model.config.get_text_config()
    if config._attn_implementation not in _BACKENDS:
        raise ConfigError(f"packing needs sdpa or eager attention, not {config._attn_implementation}; {_ALTERNATIVE}")
    accepted = inspect.signature(model.base_model.forward).parameters
    inputs: dict[str, Any] = {
        "attention_mask": _masks(config, segments_BT, causal, _attention_dtype(model, segments_BT))
    }
    if "position_ids" in accepted:
        inputs["position_ids"] = positions_of(segments_BT) + _first_position(model.base_model)
    if causal and "use_cache" in accepted:
        inputs["use_cache"] = False
    return inputs


def check_document_masking(model: PreTrainedModel, *, causal: bool) -> None:
    """Try two documents in a row of this very model: neither may see the other, each must be as if alone.

    Raises:
        ConfigError: one of them leaks into the other, differs from itself alone, or the model takes no such row.
    """
    name = type(model).__name__
    with evaluating(model), torch.no_grad():
        try:
            leak, difference = _isolation_errors(model, causal)
        except ConfigError:
            raise
        except _FORWARD_ERRORS as error:
            raise ConfigError(f"{name} cannot compute packed documents ({error}); {_ALTERNATIVE}") from error
    rounding = 16 * torch.finfo(model.dtype).eps
    if not leak <= max(1e-5, rounding):
        raise ConfigError(f"{name} lets a packed document see its neighbour (by {leak:.0e}); {_ALTERNATIVE}")
    if not difference <= max(1e-4, rounding):
        raise ConfigError(
            f"{name} computes a packed document not as if alone (off by {difference:.0e}); {_ALTERNATIVE}"
        )


def _attention_dtype(model: PreTrainedModel, segments_BT: Tensor) -> torch.dtype:
    device = segments_BT.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else model.dtype


def _masks(
    config: PretrainedConfig, segments_BT: Tensor, causal: bool, dtype: torch.dtype
) -> Tensor | dict[str, Tensor]:
    """One mask, or one for each kind of layer: given one tensor, such a model would drop its sliding windows."""
    kinds = set(_setting(config, "layer_types") or ())
    unknown = kinds - {"full_attention", "sliding_attention"}
    if unknown:
        raise ConfigError(f"packing cannot keep documents apart in layers of kind {sorted(unknown)}; {_ALTERNATIVE}")
    window = _window(config, causal)
    if "sliding_attention" not in kinds:
        return packed_attention(segments_BT, causal=causal, dtype=dtype, window=None if kinds else window)
    return {
        "full_attention": packed_attention(segments_BT, causal=causal, dtype=dtype),
        "sliding_attention": packed_attention(segments_BT, causal=causal, dtype=dtype, window=window),
    }


def _window(config: PretrainedConfig, causal: bool) -> int | None:
    """How far a sliding layer looks: a causal model counts the token itself, a bidirectional one counts each side."""
    if "sliding_attention" in (_setting(config, "layer_types") or ()):
        size = config.sliding_window  # computed from another setting in some configs, so not found by its name
    else:
        size = _setting(config, "sliding_window")
    return size - 1 if size is not None and causal else size


def _setting(config: PretrainedConfig, name: str) -> Any:
    """A config's own value under its own name, None where it has none."""
    return vars(config).get(config.attribute_map.get(name, name))


def _first_position(body: nn.Module) -> int:
    """Where positions start: behind the padding index, where the position table has one (RoBERTa and its kin)."""
    for name, module in body.named_modules():
        if isinstance(module, nn.Embedding) and "position" in name and module.padding_idx is not None:
            return module.padding_idx + 1
    return 0


def _isolation_errors(model: PreTrainedModel, causal: bool) -> tuple[float, float]:
    """(change of the second document when the first is replaced, difference of either from itself alone), relative."""
    config, body = model.config.get_text_config(), model.base_model
    length = _tried_length(config, causal, _first_position(body))
    pad = config.pad_token_id or 0
    generator = torch.Generator().manual_seed(0)
    ids_3T = torch.randint(config.vocab_size - 1, (3, length), generator=generator)
    first, other, second = (ids_3T + (ids_3T >= pad)).to(model.device)  # every token but the padding
    padding = torch.full_like(first[:2], pad)
    rows_2T = torch.stack([torch.cat([first, second, padding]), torch.cat([other, second, padding])])
    places_T = torch.arange(rows_2T.shape[1], device=model.device)
    segments_2T = torch.where(places_T < 2 * length, places_T // length + 1, 0).expand(2, -1)
    packed = body(input_ids=rows_2T, **packed_inputs(model, segments_2T, causal=causal))[0].float()
    in_row = packed[0, :length], packed[0, length : 2 * length]
    alone = [body(input_ids=document[None])[0][0].float() for document in (first, second)]
    leak = _relative(packed[1, length : 2 * length], in_row[1])
    return leak, max(_relative(found, expected) for found, expected in zip(in_row, alone, strict=True))


def _tried_length(config: PretrainedConfig, causal: bool, first_position: int) -> int:
    """Documents longer than a sliding window, where one can be tried in little time, but no longer than positions reach."""
    window = _window(config, causal) or 0
    length = 12 + (window if window <= _LONGEST_TRIED_WINDOW else 0)
    positions = _setting(config, "max_position_embeddings")
    if positions is None or positions <= 0:
        return length
    return max(2, min(length, (positions - first_position - 2) // 2))


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())
