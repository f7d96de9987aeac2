"""The running mean of the teacher's logits that DINO subtracts from them. N logits, K prototypes."""

import torch
from torch import Tensor, nn

from hfssl.distributed import all_reduce_sum
from hfssl.nn.precision import to_float32


class Centre(nn.Module):
    """Moves once per step, towards the mean of all logits that all ranks and micro-batches staged (Caron et al. 2021,
    equation 4)."""

    centre_K: Tensor

    def __init__(self, num_prototypes: int, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("centre_K", torch.zeros(num_prototypes))
        self._staged: list[Tensor] = []

    @torch.no_grad()
    def stage(self, logits_NK: Tensor) -> None:
        """Keep one micro-batch's teacher logits for the end of the step."""
        widened_NK = to_float32(logits_NK.detach())
        count = widened_NK.new_full((1,), len(widened_NK))
        self._staged.append(torch.cat([widened_NK.sum(dim=0), count]))

    @torch.no_grad()
    def commit(self, applied: Tensor) -> None:
        """Move where `applied` (0-d bool), and forget what was staged either way. Called by all ranks alike."""
        if not self._staged:
            return
        joined = all_reduce_sum(torch.stack(self._staged).sum(dim=0))
        self._staged = []
        mean_K = (joined[:-1] / joined[-1]).to(self.centre_K.dtype)
        moved_K = self.momentum * self.centre_K + (1.0 - self.momentum) * mean_K
        self.centre_K.copy_(torch.where(applied, moved_K, self.centre_K))
