"""Gaussian blur of a batch of images, each with a width of its own.

N images, C channels, S x S pixels, K taps of the kernel.

The blur is separable and linear, so it is two small matrix products an image, with the reflection at the borders folded into
the matrix: two kernels on a GPU for all widths together, where a convolution would want one filter for all.
"""

import torch
from torch import Tensor


def gaussian_blur(images: Tensor, sigmas_N: Tensor, radius: int) -> Tensor:
    """Blur each image with its own standard deviation, reflecting at the borders.

    Equal to torchvision's `gaussian_blur` with kernel size 2 * radius + 1.

    Args:
        images: (N, C, S, S) float32.
        sigmas_N: standard deviations in pixels, above 0.
        radius: pixels that the kernel reaches to each side, below S.
    """
    blurred = _blur_matrices(sigmas_N, images.shape[-1], radius)[:, None]
    return torch.matmul(torch.matmul(blurred, images), blurred.transpose(2, 3))


def _blur_matrices(sigmas_N: Tensor, size: int, radius: int) -> Tensor:
    """(N, S, S) float32: row s holds the weights with which pixel s takes the others."""
    assert radius < size
    taps_K = torch.arange(-radius, radius + 1, device=sigmas_N.device)
    kernels_NK = torch.softmax(-0.5 * (taps_K / sigmas_N[:, None]) ** 2, dim=1)
    places_S = torch.arange(size, device=sigmas_N.device)
    sources_KS = (places_S + taps_K[:, None]).abs()
    sources_KS = size - 1 - (size - 1 - sources_KS).abs()
    reads_KSS = (sources_KS[:, :, None] == places_S).to(torch.float32)
    return torch.matmul(kernels_NK, reads_KSS.flatten(1)).unflatten(1, (size, size))
