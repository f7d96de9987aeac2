"""LARS: momentum whose step on each matrix is a fixed share of the matrix's own norm; for large batches."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from hfssl.nn.precision import norms
from hfssl.objective import is_matrix

MOMENTUM = 0.9
TRUST_COEFFICIENT = 0.001


class LARS(torch.optim.Optimizer):
    """You et al. 2017, "Large batch training of convolutional networks", algorithm 1, as SimCLR (Chen et al. 2020, appendix
    B.6) and BYOL (Grill et al. 2020, section 3.3) use it: with d the gradient plus weight_decay x w,

        v <- MOMENTUM v + lr t d,  w <- w - v,  t = TRUST_COEFFICIENT |w| / |d|, 1 where either norm is 0.

    The learning rate is inside the momentum, as in the paper and in SimCLR's published code (its classic momentum). BYOL's, MoCo
    v3's and Barlow Twins' codes keep v <- MOMENTUM v + t d and step by lr v. Both are the same at a constant rate. While the
    rate changes, theirs applies today's rate to earlier gradients, ours the rate that held then.

    Norms, biases and other tensors of fewer than two dimensions are not adapted, t = 1; they belong in a group without decay.
    Where `found_inf` (0-d, 1 or 0, on the device) is 1, the step leaves weights and momentum bit for bit.
    """

    found_inf: Tensor | None = None  # set before each step, as for fused AdamW
    grad_scale: Tensor | None = None

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step on every parameter that has a gradient."""
        assert closure is None, "the loss is computed before the step"
        for group in self.param_groups:
            for is_adapted in (True, False):
                chosen = [p for p in group["params"] if p.grad is not None and is_matrix(p) == is_adapted]
                if chosen:
                    self._step(chosen, group["lr"], group["weight_decay"], is_adapted)

    def _step(self, parameters: list[Tensor], rate: float, weight_decay: float, is_adapted: bool) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        changes = list(torch._foreach_add(gradients, parameters, alpha=weight_decay))
        if is_adapted:
            pairs = zip(norms(parameters), norms(changes), strict=True)
            trusts = [_trust(weight, change).to(changes[0].dtype) for weight, change in pairs]
            torch._foreach_mul_(changes, trusts)
        velocities = [self._velocity(p) for p in parameters]
        moved = torch._foreach_mul(velocities, MOMENTUM)
        torch._foreach_add_(moved, changes, alpha=rate)
        self._write(velocities, moved)
        self._write(parameters, torch._foreach_sub(parameters, moved))

    def _velocity(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(parameter)
        velocity: Tensor = state["velocity"]
        return velocity

    def _write(self, targets: list[Tensor], values: Iterable[Tensor]) -> None:
        """`targets` become `values` unless `found_inf` says no; without asking the host."""
        for target, value in zip(targets, values, strict=True):
            target.copy_(value if self.found_inf is None else torch.where(self.found_inf > 0, target, value))


def _trust(weight_norm: Tensor, change_norm: Tensor) -> Tensor:
    usable = (weight_norm > 0) & (change_norm > 0)
    return torch.where(usable, TRUST_COEFFICIENT * weight_norm / change_norm, torch.ones_like(weight_norm))
