"""The earliest module of the last layer after which a masked language model needs its chosen positions only.

What follows the last attention acts on each position by itself: the MLP of the last layer, a twelfth to a sixth of a small
model's work. Where a residual stream that is normalised after each block (BERT and its kin) passes through a module's
output, it can be cut there. Found by trying, not by names. B rows, T tokens, S slots, V vocabulary, D width.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hfssl.nn.evaluating import evaluating
from hfssl.nn.masked_positions import logits_at

_ROWS, _TOKENS = 2, 9
_SLOTS = ((1, 4, 7), (0, 2, 8))
_CAN_NOT_BE_CUT = (RuntimeError, ValueError, TypeError, LookupError)


def earliest_cut(model: PreTrainedModel) -> str | None:
    """Name of the first module whose output may be cut to the slots with the same logits there; None where there is none."""
    body_layers = [module for module in model.base_model.modules() if isinstance(module, nn.ModuleList)]
    if not body_layers:
        return None
    last_layer = max(body_layers, key=len)[-1]
    names = {module: name for name, module in model.named_modules()}
    device = next(model.parameters()).device
    vocabulary = model.config.get_text_config().vocab_size
    ids_BT = torch.arange(_ROWS * _TOKENS, device=device).view(_ROWS, _TOKENS) % (vocabulary - 1) + 1
    slots_BS = torch.tensor(_SLOTS, device=device)
    with evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        expected_BSV = logits_at(model, slots_BS, {"input_ids": ids_BT})
        for module in _in_order_of_their_outputs(model, last_layer, ids_BT):
            if _same_logits(model, slots_BS, ids_BT, names[module], expected_BSV):
                return names[module]
    return None


def _in_order_of_their_outputs(model: PreTrainedModel, last_layer: nn.Module, ids_BT: Tensor) -> list[nn.Module]:
    """Modules of the last layer that give one vector a token."""
    found: list[nn.Module] = []

    def note(module: nn.Module, arguments: object, output: object) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        if isinstance(hidden, Tensor) and hidden.shape[:2] == ids_BT.shape and module not in found:
            found.append(module)

    handles = [module.register_forward_hook(note) for module in last_layer.modules()]
    try:
        model(input_ids=ids_BT)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _same_logits(model: PreTrainedModel, slots_BS: Tensor, ids_BT: Tensor, cut: str, expected_BSV: Tensor) -> bool:
    try:
        logits_BSV = logits_at(model, slots_BS, {"input_ids": ids_BT}, cut=cut)
    except _CAN_NOT_BE_CUT:
        return False
    return logits_BSV.shape == expected_BSV.shape and torch.allclose(logits_BSV, expected_BSV, rtol=1e-4, atol=1e-5)
