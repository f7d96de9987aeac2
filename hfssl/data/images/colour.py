"""Operations on the colours of a batch of images, each with parameters of its own for every image.

N images, C channels, S x S pixels; float32 in [0, 1], channels red, green, blue where C is 3. Equal to the operations of
torchvision.transforms.v2.functional on float images. Nothing here waits for the device.
Choices are made by arithmetic: torch.where, maximum and aminmax take many times as long on a CPU.
"""

import torch
from torch import Tensor

_LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, to the digits that torchvision has
_NO_CHROMA = 1e-12  # the hue of grey is red, as everywhere; it is multiplied by a chroma of 0


def luma(images: Tensor) -> Tensor:
    """Brightness as the eye weighs it, or the mean of the channels where they are not three; (N, 1, S, S)."""
    if images.shape[1] != 3:
        return images.mean(dim=1, keepdim=True)
    red, green, blue = images.split(1, dim=1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def blend(images: Tensor, shares_NK: Tensor) -> Tensor:
    """Mix each image with the mean of its luma and with its luma: brightness, contrast and saturation in one.

    A factor f is the shares (f, 0, 0) for brightness, (f, 1 - f, 0) for contrast and (f, 0, 1 - f) for saturation; (1, 0, 0)
    leaves an image as it is, to the bit.

    Args:
        shares_NK: of the image and of the mean of its luma; where K is 3, of its luma too.
    """
    own, *others = (share.view(-1, 1, 1, 1) for share in shares_NK.unbind(dim=1))
    lumas = luma(images)
    shift = lumas.mean(dim=(2, 3), keepdim=True, dtype=torch.float64).to(torch.float32).mul_(others[0])
    if len(others) == 2:
        shift = lumas.mul_(others[1]).add_(shift)
    return (images * own).add_(shift).clamp_(0.0, 1.0)


def shift_hue(images: Tensor, shifts_N: Tensor) -> Tensor:
    """Turn the hue of each image by its share of a full turn, in [-0.5, 0.5]; three channels.

    The hexagonal model (Smith 1978, "Color gamut transform pairs"): brightest and darkest channel stay, and only how the
    channels share the distance between them changes, so saturation and value need not be computed.
    """
    red, green, blue = images.unbind(dim=1)
    brightest, darkest = images.amax(dim=1), images.amin(dim=1)
    chroma = brightest - darkest
    is_red = (brightest == red).to(torch.float32)
    is_green = (brightest == green).to(torch.float32).mul_(1.0 - is_red)
    is_blue = 1.0 - is_red - is_green
    hue = (green - blue).mul_(is_red).addcmul_(blue - red, is_green).addcmul_(red - green, is_blue)
    hue = hue.div_(chroma.clamp(min=_NO_CHROMA)).add_(is_green, alpha=2.0).add_(is_blue, alpha=4.0)
    hue = hue.add_(6.0 * shifts_N[:, None, None]).remainder_(6.0)
    turned = torch.empty_like(images)
    torch.sub(hue, 3.0, out=turned[:, 0]).abs_().sub_(1.0)
    torch.sub(hue, 2.0, out=turned[:, 1]).abs_().neg_().add_(2.0)
    torch.sub(hue, 4.0, out=turned[:, 2]).abs_().neg_().add_(2.0)
    return turned.clamp_(0.0, 1.0).mul_(chroma[:, None]).add_(darkest[:, None])


def greyscale(images: Tensor) -> Tensor:
    """The luma in each of three channels; a view that shares its pixels between them."""
    return luma(images).expand_as(images)


def solarise(images: Tensor) -> Tensor:
    """Invert the pixels above one half (Grill et al. 2020, appendix B): the smaller of x and 1 - x."""
    return (images - 0.5).abs_().neg_().add_(0.5)


def add_noise(images: Tensor, noise: Tensor, sigmas_N: Tensor) -> Tensor:
    """Add standard normal `noise` of the images' shape, times each image's standard deviation, and clip."""
    return (noise * sigmas_N.view(-1, 1, 1, 1)).add_(images).clamp_(0.0, 1.0)
