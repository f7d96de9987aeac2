"""The identity whose gradient is scaled: part of a network learns more slowly, under any optimizer but those that are blind to it."""

from typing import Any

import torch
from torch import Tensor


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


def scaled_gradient(tensor: Tensor, factor: float) -> Tensor:
    """`tensor`, whose gradient arrives multiplied by `factor`."""
    scaled: Tensor = _ScaledGradient.apply(tensor, factor)
    return scaled
