"""Random resized crops: boxes are drawn from keys on the CPU, pixels are cut on the device.

B images, C channels, H x W pixels in, S x S pixels out.
"""

import math

import torch
from torch import Tensor

from hfssl.randomness import uniform

_CROP_ATTEMPTS = 10
USUAL_RATIO = (3 / 4, 4 / 3)


def crop_boxes(
    keys_B: Tensor,
    stream: str,
    heights_B: Tensor,
    widths_B: Tensor,
    scale: tuple[float, float],
    ratio: tuple[float, float] = USUAL_RATIO,
) -> Tensor:
    """Random resized crops (Szegedy et al. 2015, section 6), as torchvision draws them: ten attempts at an area share in
    `scale` and a log-uniform aspect ratio (width by height) in `ratio`, then the largest central box of a permitted ratio.

    Returns:
        (B, 4) int64: top, left, height, width.
    """
    draws = uniform(keys_B, stream, 2 * _CROP_ATTEMPTS + 2).double()
    heights, widths = heights_B[:, None].double(), widths_B[:, None].double()
    areas = heights * widths * (scale[0] + (scale[1] - scale[0]) * draws[:, :_CROP_ATTEMPTS])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    ratios = torch.exp(low + (high - low) * draws[:, _CROP_ATTEMPTS : 2 * _CROP_ATTEMPTS])
    crop_heights, crop_widths = (areas / ratios).sqrt().round(), (areas * ratios).sqrt().round()
    fits = (crop_heights >= 1) & (crop_widths >= 1) & (crop_heights <= heights) & (crop_widths <= widths)
    first = fits.to(torch.int64).argmax(dim=1, keepdim=True)
    found_B = fits.any(dim=1)
    ratio_B = (widths / heights).clamp(*ratio)[:, 0]
    central_heights = torch.minimum(heights[:, 0], (widths[:, 0] / ratio_B).round()).clamp(min=1)
    central_widths = torch.minimum(widths[:, 0], (heights[:, 0] * ratio_B).round()).clamp(min=1)
    boxes_h = torch.where(found_B, crop_heights.gather(1, first)[:, 0], central_heights)
    boxes_w = torch.where(found_B, crop_widths.gather(1, first)[:, 0], central_widths)
    rest_h, rest_w = heights[:, 0] - boxes_h, widths[:, 0] - boxes_w
    tops = torch.where(found_B, (draws[:, -2] * (rest_h + 1)).floor(), (rest_h / 2).floor())
    lefts = torch.where(found_B, (draws[:, -1] * (rest_w + 1)).floor(), (rest_w / 2).floor())
    return torch.stack([tops, lefts, boxes_h, boxes_w], dim=1).to(torch.int64)


def resized_crop(
    images: Tensor, boxes_B4: Tensor, size: int, flips_B: Tensor, *, vertical_flips_B: Tensor | None = None
) -> Tensor:
    """Crop each image to its box, resize it to `size` with the antialiased bicubic filter, and flip it where told.

    Resizing is separable and linear, so a crop, its resize and its flip are two small matrix products an image. Equal to
    torchvision's `resized_crop(..., BICUBIC, antialias=True)` on float images.

    Args:
        images: (B, C, H, W) uint8 or float.
        boxes_B4: top, left, height, width.
        flips_B: bool; true mirrors left and right.
        vertical_flips_B: bool; true mirrors top and bottom.

    Returns:
        (B, C, S, S) float32, not clamped: bicubic overshoots.
    """
    height, width = images.shape[-2:]
    rows = _filter_rows(boxes_B4[:, 0], boxes_B4[:, 2], height, size)
    columns = _filter_rows(boxes_B4[:, 1], boxes_B4[:, 3], width, size)
    columns = torch.where(flips_B[:, None, None], columns.flip(1), columns)
    if vertical_flips_B is not None:
        rows = torch.where(vertical_flips_B[:, None, None], rows.flip(1), rows)
    cropped = torch.matmul(rows[:, None], images.to(torch.float32))
    return torch.matmul(cropped, columns.transpose(1, 2)[:, None])


def _filter_rows(starts_B: Tensor, lengths_B: Tensor, pixels: int, size: int) -> Tensor:
    """(B, size, pixels) float32 weights with which each output pixel takes the input pixels of [start, start + length)."""
    lengths = lengths_B.to(torch.float32)[:, None, None]
    scale = lengths / size
    stretch = scale.clamp(min=1.0)
    centres = scale * (torch.arange(size, device=starts_B.device, dtype=torch.float32)[:, None] + 0.5)
    inside = torch.arange(pixels, device=starts_B.device) - starts_B[:, None, None]  # small numbers keep float32 exact
    weights = _cubic((inside + 0.5 - centres) / stretch)
    weights = weights * ((inside >= 0) & (inside < lengths))  # torch.where takes many times as long on a CPU
    return weights / weights.sum(dim=2, keepdim=True)


def _cubic(distances: Tensor) -> Tensor:
    """The cubic convolution kernel with a = -0.5 (Keys 1981, equation 15)."""
    x = distances.abs()
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return near * (x < 1.0) + far * ((x >= 1.0) & (x < 2.0))
