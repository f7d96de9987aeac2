"""Sine-cosine position embeddings of a patch grid, and their interpolation to another grid."""

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def sincos_2d(width: int, grid: int) -> Tensor:
    """Position embeddings of a square grid, row-major, with a zero row for the class token in front.

    The layout is that of the published MAE checkpoints: the first half of `width` encodes the column, the second half the
    row, each as sines then cosines at frequencies 10000^(-2i / (width / 2)) (He et al. 2022; Vaswani et al. 2017, 3.5).

    Args:
        width: embedding width, a multiple of 4.
        grid: patches on a side.

    Returns:
        (1, 1 + grid * grid, width) float32.
    """
    frequencies = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * frequencies
    encoded = torch.cat([angles.sin(), angles.cos()], dim=1)  # (grid, width / 2)
    columns = encoded[None, :, :].expand(grid, grid, -1)
    rows = encoded[:, None, :].expand(grid, grid, -1)
    patches = torch.cat([columns, rows], dim=2).reshape(grid * grid, width)
    return torch.cat([torch.zeros(1, width, dtype=torch.float64), patches]).to(torch.float32)[None]


def resize_positions(positions: Tensor, grid: int) -> Tensor:
    """(1, P + g * g, D) position embeddings brought to `grid` x `grid` patches by bicubic interpolation; those of the P
    tokens in front, at most 2 g of them, stay."""
    old_grid = math.isqrt(positions.shape[1])
    num_tokens = positions.shape[1] - old_grid**2
    tokens, patches = positions[:, :num_tokens], positions[:, num_tokens:]
    square = patches.reshape(1, old_grid, old_grid, -1).permute(0, 3, 1, 2)
    resized = interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([tokens, resized.permute(0, 2, 3, 1).reshape(1, grid * grid, -1)], dim=1)
