"""A first-in first-out queue of feature vectors in buffers. Q slots, B rows, D width."""

import torch
from torch import Tensor, nn

from hfssl.distributed import all_gather_with_gradient


class FeatureQueue(nn.Module):
    """`staged` rows of all ranks enter at the end of a step, where it was applied; the oldest leave."""

    features_QD: Tensor
    position: Tensor

    def __init__(self, size: int, width: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        start_QD = torch.nn.functional.normalize(torch.randn(size, width, generator=generator), dim=1)
        self.register_buffer("features_QD", start_QD)
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))
        self._staged: list[Tensor] = []

    @torch.no_grad()
    def stage(self, features_BD: Tensor) -> None:
        """Keep one micro-batch for the end of the step; all ranks' rows, the same on every rank."""
        self._staged.append(all_gather_with_gradient(features_BD.detach()))

    @torch.no_grad()
    def commit(self, applied: Tensor) -> None:
        """Write the staged rows where `applied` (0-d bool), and forget them either way."""
        if not self._staged:
            return
        rows_BD = torch.cat(self._staged).to(self.features_QD.dtype)
        self._staged = []
        slots_B = (self.position + torch.arange(len(rows_BD), device=rows_BD.device)) % len(self.features_QD)
        self.features_QD[slots_B] = torch.where(applied, rows_BD, self.features_QD[slots_B])
        self.position.copy_(torch.where(applied, (self.position + len(rows_BD)) % len(self.features_QD), self.position))
