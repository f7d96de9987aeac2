"""Losses of stock language models without logits where nothing is predicted. B rows, T tokens, S slots, V vocabulary, D width.

Logits are by far the largest tensor of a small language model, and a masked one needs them at 15 % of its tokens. The
stock head runs, whatever it is made of: what it sees is cut between it and the body of the model, `model.base_model`.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from hfssl.nn.cross_entropy import summed_cross_entropy

IGNORED = -100  # the label of a position that is no target, as in transformers
_MOST_LOGITS = 1 << 26  # of a chunk: 256 MiB in float32


def logits_at(model: PreTrainedModel, slots_BS: Tensor, inputs: dict[str, Any], *, cut: str | None = None) -> Tensor:
    """The stock logits at the chosen positions only.

    Args:
        model: a transformers model with a language-model head.
        slots_BS: int64 positions within each row.
        inputs: keyword arguments of the model, without labels.
        cut: name of the module whose output is cut to the slots, see `early_slots`; None, and what is compiled, cuts behind
            the body. Not for layers that are recomputed: the hook is gone when the backward pass runs them again.

    Returns:
        (B, S, V): what gathering from the full logits gives.
    """

    def keep_slots(module: Any, arguments: Any, outputs: Any) -> Any:
        hidden_BTD = outputs if isinstance(outputs, Tensor) else outputs[0]
        index_BSD = slots_BS[:, :, None].expand(-1, -1, hidden_BTD.shape[2])
        kept_BSD = hidden_BTD.gather(1, index_BSD)
        return kept_BSD if isinstance(outputs, Tensor) else _with_hidden(outputs, kept_BSD)

    cut_module = _body(model) if cut is None or torch.compiler.is_compiling() else model.get_submodule(cut)
    handle = cut_module.register_forward_hook(keep_slots)
    try:
        logits_BSV: Tensor = model(**inputs)[0]
    finally:
        handle.remove()
    return logits_BSV


def masked_position_loss(logits_BSV: Tensor, labels_BS: Tensor) -> tuple[Tensor, Tensor]:
    """(sum of the cross-entropy in float32, number of labels that are not -100), both 0-d.

    Without a label the sum is a 0 that is connected to the graph.
    """
    wide_BSV = logits_BSV.to(torch.promote_types(logits_BSV.dtype, torch.float32))
    loss_sum = summed_cross_entropy(wide_BSV.flatten(0, 1), labels_BS.flatten(), ignore_index=IGNORED)
    return loss_sum, (labels_BS != IGNORED).sum()


def causal_loss(
    model: PreTrainedModel, inputs: dict[str, Any], labels_BT: Tensor, *, most_logits: int = _MOST_LOGITS
) -> tuple[Tensor, Tensor]:
    """(summed next-token cross-entropy, number of targets) of a stock causal language model.

    The head runs on chunks of at most `most_logits` logits, and once more on each in the backward pass, so that the
    (B, T, V) logits never exist.

    Args:
        inputs: keyword arguments of the model, without labels.
        labels_BT: int64, the token after each token; -100 where there is none or it belongs to another document.
    """
    body_outputs = _body(model)(**inputs)
    chunk = max(1, most_logits // model.config.get_text_config().vocab_size)
    return _eager_loss_of_head(model, inputs, body_outputs, labels_BT, chunk), (labels_BT != IGNORED).sum()


def _loss_of_head(
    model: PreTrainedModel, inputs: dict[str, Any], body_outputs: Any, labels_BT: Tensor, chunk: int
) -> Tensor:
    def loss_of(hidden_1CD: Tensor, labels_1C: Tensor) -> Tensor:
        with _body_gives(model, _with_hidden(body_outputs, hidden_1CD)):
            return masked_position_loss(model(**inputs)[0], labels_1C)[0]

    hidden_1ND, labels_1N = body_outputs[0].flatten(0, 1)[None], labels_BT.flatten()[None]
    if labels_1N.shape[1] <= chunk:
        return loss_of(hidden_1ND, labels_1N)
    pieces = zip(hidden_1ND.split(chunk, dim=1), labels_1N.split(chunk, dim=1), strict=True)
    return torch.stack([checkpoint(loss_of, *piece, use_reentrant=False) for piece in pieces]).sum()


# torch.compile cannot trace a swapped `forward`; the body, which is most of the work, stays compiled
_eager_loss_of_head: Callable[..., Tensor] = torch.compiler.disable(_loss_of_head)


def _body(model: PreTrainedModel) -> Any:
    body = model.base_model
    if body is model:
        raise ValueError(
            f"{type(model).__name__} has no language-model head; build it with AutoModelForMaskedLM or CausalLM"
        )
    return body


def _with_hidden(outputs: Any, hidden: Tensor) -> Any:
    """`outputs` of a body, a tuple or a ModelOutput, with another last hidden state."""
    if isinstance(outputs, tuple):
        return (hidden, *outputs[1:])
    replaced = copy.copy(outputs)
    replaced.last_hidden_state = hidden
    return replaced


@contextmanager
def _body_gives(model: PreTrainedModel, outputs: Any) -> Iterator[None]:
    """Inside, `model` runs its head only: its body answers with `outputs`."""
    body = _body(model)
    body.forward = lambda *arguments, **named: outputs
    try:
        yield
    finally:
        del body.forward
