"""Lossless rotations of square images by multiples of 90 degrees."""

import torch
from torch import Tensor

DEGREES = (0, 90, 180, 270)


def quarter_turns(images: Tensor) -> Tensor:
    """(B, C, S, S) -> (B, 4, C, S, S): each image as it is and turned by 90, 180 and 270 degrees counterclockwise.

    Pixels only change places, so that no interpolation tells how far an image was turned.
    """
    return torch.stack([torch.rot90(images, number, dims=(-2, -1)) for number in range(len(DEGREES))], dim=1)
