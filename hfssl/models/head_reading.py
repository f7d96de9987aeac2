"""What the head of a text classifier reads of the last hidden state: one vector a text, found by trying.

B texts, T tokens, W width, C labels.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from hfssl.errors import require
from hfssl.models.pooler import pooler_in
from hfssl.models.text_head import body_of

Inputs = dict[str, Tensor]
Reading = Callable[[Tensor, Inputs, int], Tensor]
_EQUAL = 1e-4


def _first(hidden_BTW: Tensor, inputs: Inputs, pad_id: int) -> Tensor:
    return hidden_BTW[:, :1]


def _last(hidden_BTW: Tensor, inputs: Inputs, pad_id: int) -> Tensor:
    """The last that is no padding by its id, as stock decoders look for it."""
    ids_BT = inputs["input_ids"]
    place_B = (torch.arange(ids_BT.shape[1], device=ids_BT.device) * (ids_BT != pad_id)).argmax(dim=1)
    return hidden_BTW[torch.arange(len(ids_BT), device=ids_BT.device), place_B][:, None]


def _mean(hidden_BTW: Tensor, inputs: Inputs, pad_id: int) -> Tensor:
    mask_BT1 = inputs["attention_mask"][:, :, None].to(hidden_BTW.dtype)
    return (hidden_BTW * mask_BT1).sum(dim=1, keepdim=True) / mask_BT1.sum(dim=1, keepdim=True)


_READINGS: dict[str, Reading] = {"first token": _first, "last token": _last, "mean": _mean}


def reading_of(model: PreTrainedModel, trial: Inputs) -> str:
    """How the head of `model` (in eval mode) reads: the logits of what is read equal the whole model's, to 1e-4.

    Args:
        trial: inputs of texts of unequal length.

    Raises:
        ConfigError: the head reads something else.
    """
    with torch.no_grad():
        whole_BC = model(**trial).logits
        gaps = {}
        for name in _READINGS:
            gaps[name] = float((head_logits(model, read(model, name, trial)) - whole_BC).abs().max())
    best = min(gaps, key=gaps.__getitem__)
    require(
        gaps[best] <= _EQUAL,
        f"the head of {type(model).__name__} reads neither the first nor the last token nor the mean of the last hidden "
        "state, so that its inputs cannot be computed once: use --adaptation lora or full",
    )
    return best


def read(model: PreTrainedModel, name: str, inputs: Inputs) -> Tensor:
    """(B, 1, W): what the head reads."""
    hidden_BTW = body_of(model)(**inputs).last_hidden_state
    return _READINGS[name](hidden_BTW, inputs, model.config.get_text_config().pad_token_id)


def head_logits(model: PreTrainedModel, inputs_B1W: Tensor) -> Tensor:
    """(B, C): the stock model's, whose body hands on what was read."""
    with _handing_on(model):
        logits_BC: Tensor = model(inputs_embeds=inputs_B1W).logits
    return logits_BC


@contextmanager
def _handing_on(model: PreTrainedModel) -> Iterator[None]:
    """The body gives its `inputs_embeds` as last hidden state; its pooler works as ever."""
    body = body_of(model)
    pooler = pooler_in(body)

    def forward(*arguments: Any, inputs_embeds: Tensor, **others: Any) -> BaseModelOutputWithPoolingAndCrossAttentions:
        pooled = None if pooler is None else pooler(inputs_embeds)
        return BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=inputs_embeds, pooler_output=pooled)

    body.forward = forward
    try:
        yield
    finally:
        del body.forward
