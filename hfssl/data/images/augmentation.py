"""An augmentation on a batch of views: parameters drawn from keys on the CPU, pixels changed on the device.

B samples, V views per sample, N = B * V views, C channels, S x S pixels, R rounds of jitter, M views that drew an operation.

A CPU computes an operation for the views that drew it. Elsewhere it is computed for all and chosen after, since a list of
those views would have to be waited for; an operation that no view can draw is not there at all.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from hfssl.data.images.augmentation_config import Augmentation, blur_radius
from hfssl.data.images.blur import gaussian_blur
from hfssl.data.images.colour import add_noise, blend, greyscale, shift_hue, solarise
from hfssl.data.images.geometry import inverse_affine, warp
from hfssl.randomness import normal, random_bits, random_ranks, uniform

_NEUTRAL = torch.tensor([1.0, 0.0, 0.0])
_BLENDS = ("brightness", "contrast", "saturation")
_MOST_ROUNDS = len(_BLENDS)


_OPERATIONS = {  # probability -> the parameters that its operation takes
    "affine_probability": ("warped", "matrices"),
    "grey_probability": ("grey",),
    "blur_probability": ("blur_sigmas",),
    "solarise_probability": ("solarised",),
    "noise_probability": ("noise_sigmas", "noise_keys"),
}


class _Drawn(NamedTuple):
    """Of one view; first dimension B. shares (B, 3, 3); hue_slots -1 where the hue stays; sigmas 0 where there is none."""

    shares: Tensor
    hue_slots: Tensor
    hue_shifts: Tensor
    warped: Tensor
    matrices: Tensor
    grey: Tensor
    blur_sigmas: Tensor
    solarised: Tensor
    noise_sigmas: Tensor
    noise_keys: Tensor


def view_keys(keys_B: Tensor, group: str, num_views: int) -> Tensor:
    """A key for each view of each sample, from the sample's key and the names of group and view; (B, V) int64."""
    return torch.cat([random_bits(keys_B, f"{group}/{view}", 1) for view in range(num_views)], dim=1)


def draw(augmentations: Sequence[Augmentation], keys_BV: Tensor) -> dict[str, Tensor]:
    """The parameters of each view, as `apply` takes them, for the operations that one of the views can draw.

    Args:
        augmentations: one for each view.
        keys_BV: of `view_keys`, on the CPU.

    Returns:
        (B, V, ...) tensors: bool for which views, float32 for how strongly (a sigma of 0: not at all), int64 for the slot of the
        hue (-1: never) and the keys of the noise.
    """
    views = [_drawn(augmentation, keys_BV[:, view]) for view, augmentation in enumerate(augmentations)]
    drawn = _Drawn(*(torch.stack(column, dim=1) for column in zip(*views, strict=True)))
    num_rounds = max(len(augmentation.blends) for augmentation in augmentations)
    num_shares = 3 if any("saturation" in augmentation.blends for augmentation in augmentations) else 2
    parameters: dict[str, Tensor] = {"shares": drawn.shares[:, :, :num_rounds, :num_shares]}
    for probability, names in _OPERATIONS.items():
        if any(getattr(augmentation, probability) > 0 for augmentation in augmentations):
            parameters |= {name: getattr(drawn, name) for name in names}
    if any(augmentation.jitter_probability > 0 and augmentation.hue > 0 for augmentation in augmentations):
        parameters |= {"hue_slots": drawn.hue_slots, "hue_shifts": drawn.hue_shifts}
    return parameters


def apply(images: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    """`images` changed as `draw` says: geometry, jitter, grey, blur, solarisation, noise. They are overwritten.

    Args:
        images: (N, C, S, S) float32 in [0, 1], contiguous.
        parameters: of `draw` for B * V = N views, on the images' device.
    """
    of_view = {name: tensor.flatten(0, 1) for name, tensor in parameters.items()}
    radius = blur_radius(images.shape[-1])
    if "warped" in of_view:
        _change(images, of_view["warped"], warp, of_view["matrices"])
    images = _jitter(images, of_view)
    if "grey" in of_view:
        _change(images, of_view["grey"], greyscale)
    if "blur_sigmas" in of_view:
        sigmas_N = of_view["blur_sigmas"]
        _change(images, sigmas_N > 0, partial(gaussian_blur, radius=radius), sigmas_N)
    if "solarised" in of_view:
        _change(images, of_view["solarised"], solarise)
    if "noise_sigmas" in of_view:
        sigmas_N = of_view["noise_sigmas"]
        _change(images, sigmas_N > 0, _noisy, sigmas_N, of_view["noise_keys"])
    return images


def _jitter(images: Tensor, of_view: dict[str, Tensor]) -> Tensor:
    """Rounds of brightness, contrast or saturation, each view in its own order, with its turn of the hue in its own place."""
    shares_NRK = of_view["shares"]
    num_rounds = shares_NRK.shape[1]
    for slot in range(num_rounds + 1):
        if "hue_slots" in of_view:
            _change(images, of_view["hue_slots"] == slot, shift_hue, of_view["hue_shifts"])
        if slot < num_rounds:
            images = blend(images, shares_NRK[:, slot])
    return images


def _noisy(images: Tensor, sigmas_N: Tensor, keys_N: Tensor) -> Tensor:
    noise = normal(keys_N, "noise pixels", images[0].numel()).view(images.shape)
    return add_noise(images, noise, sigmas_N)


def _change(images: Tensor, chosen_N: Tensor, operation: Callable[..., Tensor], *values_N: Tensor) -> None:
    """images[chosen] <- operation(images[chosen], values[chosen])"""
    if images.device.type == "cpu":
        _change_those(images, chosen_N, operation, *values_N)
    else:
        _change_all(images, chosen_N, operation, *values_N)


def _change_all(images: Tensor, chosen_N: Tensor, operation: Callable[..., Tensor], *values_N: Tensor) -> None:
    images.copy_(torch.where(chosen_N[:, None, None, None], operation(images, *values_N), images))


def _change_those(images: Tensor, chosen_N: Tensor, operation: Callable[..., Tensor], *values_N: Tensor) -> None:
    places_M = chosen_N.nonzero()[:, 0]
    if len(places_M) == len(images):
        images.copy_(operation(images, *values_N))
    elif len(places_M):
        chosen = operation(images.index_select(0, places_M), *(values[places_M] for values in values_N))
        images.index_copy_(0, places_M, chosen)


def _drawn(augmentation: Augmentation, keys_B: Tensor) -> _Drawn:
    shares, slots = _drawn_jitter(augmentation, keys_B)
    warped = _happens(keys_B, "warp", augmentation.affine_probability)
    blurred = _happens(keys_B, "blur", augmentation.blur_probability)
    noisy = _happens(keys_B, "noise", augmentation.noise_probability)
    return _Drawn(
        shares=shares,
        hue_slots=slots,
        hue_shifts=_between(keys_B, "hue", -augmentation.hue, augmentation.hue)[:, 0],
        warped=warped,
        matrices=_drawn_matrices(augmentation, keys_B),
        grey=_happens(keys_B, "grey", augmentation.grey_probability),
        blur_sigmas=_between(keys_B, "blur sigma", *augmentation.blur_sigma)[:, 0] * blurred,
        solarised=_happens(keys_B, "solarise", augmentation.solarise_probability),
        noise_sigmas=_between(keys_B, "noise sigma", *augmentation.noise_sigma)[:, 0] * noisy,
        noise_keys=keys_B,
    )


def _drawn_jitter(augmentation: Augmentation, keys_B: Tensor) -> tuple[Tensor, Tensor]:
    """(shares (B, 3, 3) of `blend` by round, int64 slots of the hue: how many rounds go before it, -1 for never).

    Operations without strength take no round, so that the last rounds stay neutral.
    """
    active = [_BLENDS.index(name) for name in augmentation.blends]
    jittered = _happens(keys_B, "jitter", augmentation.jitter_probability)
    draws = uniform(keys_B, "factors", _MOST_ROUNDS)
    order = random_ranks(keys_B, "order", _MOST_ROUNDS + 1)  # of brightness, contrast, saturation, hue
    rounds = _NEUTRAL.repeat(len(keys_B), _MOST_ROUNDS, 1)
    rows = torch.arange(len(keys_B))
    for index in active:
        strength = getattr(augmentation, _BLENDS[index])
        low, high = max(0.0, 1.0 - strength), 1.0 + strength
        factors = low + (high - low) * draws[:, index]
        shares = torch.zeros(len(keys_B), 3)
        shares[:, 0] = factors
        if index > 0:
            shares[:, index] = 1.0 - factors
        number = sum((order[:, other] < order[:, index]).to(torch.int64) for other in active)
        rounds[rows, number] = torch.where(jittered[:, None], shares, _NEUTRAL)
    before = [(order[:, other] < order[:, -1]).to(torch.int64) for other in active]
    slots = torch.stack(before).sum(dim=0) if before else torch.zeros_like(keys_B)
    return rounds, torch.where(jittered & (augmentation.hue > 0), slots, -1)


def _drawn_matrices(augmentation: Augmentation, keys_B: Tensor) -> Tensor:
    angles = _between(keys_B, "rotation", -augmentation.rotation, augmentation.rotation)[:, 0]
    halves = 2.0 * augmentation.translation  # of the side, which spans two in the coordinates of a grid
    translations = _between(keys_B, "translation", -halves, halves, num=2)
    scales = _between(keys_B, "scaling", *augmentation.scaling)[:, 0]
    shears = _between(keys_B, "shear", -augmentation.shear, augmentation.shear, num=2)
    return inverse_affine(angles, translations, scales, shears)


def _happens(keys_B: Tensor, stream: str, probability: float) -> Tensor:
    return uniform(keys_B, stream, 1)[:, 0] < probability


def _between(keys_B: Tensor, stream: str, low: float, high: float, *, num: int = 1) -> Tensor:
    return low + (high - low) * uniform(keys_B, stream, num)
