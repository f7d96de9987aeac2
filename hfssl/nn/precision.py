"""Losses are computed in float32 at least, whatever the autocast of the model around them."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def to_float32(tensor: Tensor) -> Tensor:
    """`tensor` in float32, or in float64 if it is in that."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def unit_rows(tensor: Tensor) -> Tensor:
    """`tensor` with l2-normalised last dimension, in float32 or float64: fp16 would turn a small norm into 0."""
    return normalize(to_float32(tensor), dim=-1)


def norms(tensors: list[Tensor]) -> list[Tensor]:
    """The l2 norm of each tensor; 0-d float64. On a CPU, float32 is off by 0.4 % at 50 million elements."""
    return list(torch._foreach_norm(tensors, 2, torch.float64))


def no_autocast(tensor: Tensor) -> torch.autocast:
    """A context on the tensor's device in which matrix products keep the dtype of their factors."""
    return torch.autocast(tensor.device.type, enabled=False)
