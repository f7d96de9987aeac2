"""Rotation, translation, scaling and shear of a batch of images, each with a matrix of its own.

N images, C channels, S x S pixels.
"""

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


def inverse_affine(angles_N: Tensor, translations_N2: Tensor, scales_N: Tensor, shears_N2: Tensor) -> Tensor:
    """Matrices that take a place in the result to the place in the image where its pixel comes from; (N, 2, 3) float32.

    The map is a shear along x, one along y, a scaling and a rotation about the centre, then a translation, as torchvision's
    `affine` has it.

    Args:
        angles_N, shears_N2: degrees, clockwise where positive; shears (x, y).
        translations_N2: (x, y) in halves of the side: 1 is half an image.
        scales_N: above 1 enlarges.
    """
    angles_N, shears_N2 = torch.deg2rad(angles_N.double()), torch.deg2rad(shears_N2.double())
    tan_x, (turn, own_y) = shears_N2[:, 0].tan(), (angles_N - shears_N2[:, 1], shears_N2[:, 1].cos())
    a, c = turn.cos() / own_y, turn.sin() / own_y
    b, d = -(a * tan_x + angles_N.sin()), angles_N.cos() - c * tan_x
    inverse = torch.stack([d, -b, -c, a], dim=1).view(-1, 2, 2) / scales_N.double()[:, None, None]  # determinant 1
    moved = -torch.matmul(inverse, translations_N2.double()[:, :, None])
    return torch.cat([inverse, moved], dim=2).to(torch.float32)


def warp(images: Tensor, matrices_N23: Tensor) -> Tensor:
    """Each image as its matrix of `inverse_affine` maps it: bilinear interpolation, black from outside.

    Equal to torchvision's `affine(..., interpolation=BILINEAR)`.
    """
    grid = affine_grid(matrices_N23, list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
