"""The identity whose gradient is scaled: it weighs one part of a network less in the norm that clipping looks at, and under
optimizers that are not blind to scale it learns more slowly."""

from typing import Protocol

import torch
from torch import Tensor


class _Context(Protocol):
    factor: float


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Context, tensor: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: _Context, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


def scaled_gradient(tensor: Tensor, factor: float) -> Tensor:
    """`tensor`, whose gradient arrives multiplied by `factor`."""
    scaled: Tensor = _ScaledGradient.apply(tensor, factor)
    return scaled
