"""A teacher: a copy of the student that no gradient reaches and that follows it as a moving average."""

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn

from hfssl.nn.ema import update_ema


class Teacher(nn.Module):
    """Starts equal to the student and shares no storage with it. Trains nothing, drops nothing; its BatchNorms normalise as
    the student's do, by the moments of the batch (Grill et al. 2020; He et al. 2020)."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(student).requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        super().train(False)  # dropout may hide inside an attention layer, not in a module of its own
        for module in self.network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train(mode)
        return self

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        return self.network(*inputs)

    def follow(self, student: nn.Module, momentum: float, applied: Tensor) -> None:
        """momentum * itself + (1 - momentum) * student, where `applied` (0-d bool)."""
        update_ema(self.network, student, momentum, applied)

    def restart(self, student: nn.Module) -> None:
        """Reset to the student, buffers too."""
        self.network.load_state_dict(student.state_dict())
