"""Operations on batches equal torchvision's one by one; draws have the promised shares and depend on the key alone."""

import itertools
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from hfssl.data.images import augmentation as module
from hfssl.data.images.augmentation import apply, draw, view_keys
from hfssl.data.images.augmentation_config import PRESETS, Augmentation
from hfssl.data.images.blur import gaussian_blur
from hfssl.data.images.colour import add_noise, blend, greyscale, shift_hue, solarise
from hfssl.data.images.geometry import inverse_affine, warp
from hfssl.randomness import normal, sample_keys

CLOSE = 1e-5  # of 1; what a uint8 image shows is 1 / 255
SHAPES = [(3, 8, 8), (3, 31, 31), (3, 32, 32)]
Images = Callable[[Tensor], Tensor]


def random_images(num: int, shape: tuple[int, int, int]) -> Tensor:
    images = torch.rand(num, *shape, generator=torch.Generator().manual_seed(0))
    images[0] = 0.5  # grey: hue and saturation are not defined
    images[1, :, 0] = 0.0
    images[1, :, 1] = 1.0
    return images


def uniforms(*shape: int, low: float, high: float) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * (high - low) + low


def keys_of(num: int, epoch: int = 0) -> Tensor:
    return sample_keys(0, torch.full((num,), epoch), torch.arange(num))


def drawn(augmentation: Augmentation, num: int, epoch: int = 0) -> dict[str, Tensor]:
    """Of one view; (num, 1, ...) tensors."""
    return draw([augmentation], view_keys(keys_of(num, epoch), "views", 1))


def assert_close(ours: Tensor, expected: list[Tensor]) -> None:
    assert float((ours - torch.stack(expected)).abs().max()) <= CLOSE


@pytest.mark.parametrize("shape", [*SHAPES, (1, 9, 9)])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_blends_equal_torchvision(name: str, shape: tuple[int, int, int]) -> None:
    if shape[0] == 1 and name == "saturation":
        return
    images, factors = random_images(8, shape), uniforms(8, low=0.0, high=2.0)
    shares = torch.zeros(8, 3)
    shares[:, 0] = factors
    if name != "brightness":
        shares[:, ["contrast", "saturation"].index(name) + 1] = 1 - factors
    theirs = getattr(reference, f"adjust_{name}")
    expected = [theirs(image, float(factor)) for image, factor in zip(images, factors, strict=True)]
    assert_close(blend(images, shares), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_hue_equals_torchvision(shape: tuple[int, int, int]) -> None:
    images, shifts = random_images(16, shape), uniforms(16, low=-0.5, high=0.5)
    expected = [reference.adjust_hue(image, float(shift)) for image, shift in zip(images, shifts, strict=True)]
    assert_close(shift_hue(images, shifts), expected)


def test_hue_of_uint8_images_equals_torchvision_to_two_levels() -> None:
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    shifts = uniforms(8, low=-0.5, high=0.5)
    ours = shift_hue(images / 255, shifts)
    for image, shift, result in zip(images, shifts, ours, strict=True):
        expected = reference.adjust_hue(image, float(shift)) / 255
        assert float((result - expected).abs().max()) <= 2 / 255


@pytest.mark.parametrize("shape", SHAPES)
def test_greyscale_and_solarisation_equal_torchvision(shape: tuple[int, int, int]) -> None:
    images = random_images(8, shape)
    assert_close(greyscale(images), [reference.rgb_to_grayscale(image, 3) for image in images])
    assert_close(solarise(images), [reference.solarize(image, 0.5) for image in images])


@pytest.mark.parametrize(("shape", "radius"), [((3, 8, 8), 7), ((1, 31, 31), 3), ((3, 96, 96), 4), ((5, 24, 24), 11)])
def test_blur_equals_torchvision(shape: tuple[int, int, int], radius: int) -> None:
    images, sigmas = random_images(6, shape), uniforms(6, low=0.1, high=2.0)
    size = [2 * radius + 1] * 2
    expected = [
        reference.gaussian_blur(image, size, [float(sigma)] * 2) for image, sigma in zip(images, sigmas, strict=True)
    ]
    assert_close(gaussian_blur(images, sigmas, radius), expected)


@pytest.mark.parametrize("shape", [*SHAPES, (1, 9, 9), (6, 20, 20)])
def test_affine_maps_equal_torchvision(shape: tuple[int, int, int]) -> None:
    images, size = random_images(8, shape), shape[-1]
    angles, scales = uniforms(8, low=-180, high=180), uniforms(8, low=0.6, high=1.5)
    moves, shears = uniforms(8, 2, low=-0.6, high=0.6), uniforms(8, 2, low=-30, high=30)
    ours = warp(images, inverse_affine(angles, moves, scales, shears))
    expected = []
    for image, angle, move, scale, shear in zip(images, angles, moves, scales, shears, strict=True):
        pixels = (move * size / 2).tolist()
        bilinear = reference.InterpolationMode.BILINEAR
        expected.append(reference.affine(image, float(angle), pixels, float(scale), shear.tolist(), bilinear))
    assert float((ours - torch.stack(expected)).abs().max()) <= 1e-3  # float32 places of pixels times steep edges


def test_a_rotation_alone_equals_torchvisions_rotation() -> None:
    images, angles = random_images(8, (3, 21, 21)), uniforms(8, low=-180, high=180)
    ours = warp(images, inverse_affine(angles, torch.zeros(8, 2), torch.ones(8), torch.zeros(8, 2)))
    bilinear = reference.InterpolationMode.BILINEAR
    expected = [reference.rotate(image, -float(angle), bilinear) for image, angle in zip(images, angles, strict=True)]
    assert float((ours - torch.stack(expected)).abs().max()) <= 1e-3


def test_noise_equals_torchvision_given_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    images, sigmas = random_images(8, (3, 12, 12)), uniforms(8, low=0.0, high=0.5)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(2))
    expected = []
    for image, own, sigma in zip(images, noise, sigmas, strict=True):
        monkeypatch.setattr(torch, "randn_like", lambda like, own=own: own)
        expected.append(reference.gaussian_noise(image, sigma=float(sigma)))
    assert_close(add_noise(images, noise, sigmas), expected)


def test_keyed_normal_numbers_are_normal() -> None:
    numbers = normal(keys_of(200), "noise", 501)
    assert numbers.shape == (200, 501)
    assert stats.kstest(numbers.flatten().numpy(), "norm").pvalue > 1e-3
    assert abs(float(torch.corrcoef(torch.stack([numbers[:-1].flatten(), numbers[1:].flatten()]))[0, 1])) < 0.02
    assert abs(float(torch.corrcoef(torch.stack([numbers[:, :-1].flatten(), numbers[:, 1:].flatten()]))[0, 1])) < 0.02
    assert torch.equal(normal(keys_of(200)[7:8], "noise", 501), numbers[7:8])


def jittered_slowly(image: Tensor, parameters: dict[str, Tensor], index: int) -> Tensor:
    """One image through torchvision's operations in the order that was drawn for it."""
    rounds = parameters["shares"][index, 0]
    for slot in range(len(rounds) + 1):
        if parameters["hue_slots"][index, 0] == slot:
            image = reference.adjust_hue(image, float(parameters["hue_shifts"][index, 0]))
        if slot < len(rounds):
            factor, to_mean, to_luma = rounds[slot].tolist()
            name = "contrast" if to_mean else "saturation" if to_luma else "brightness"
            image = getattr(reference, f"adjust_{name}")(image, factor)
    return image


def test_jitter_equals_torchvision_in_every_order() -> None:
    strong = Augmentation(jitter_probability=1.0, brightness=0.9, contrast=0.9, saturation=0.9, hue=0.5)
    images, parameters = random_images(200, (3, 9, 9)), drawn(strong, 200)
    expected = [jittered_slowly(image, parameters, index) for index, image in enumerate(images)]
    orders = set()
    for index in range(200):
        kinds = [tuple((share != 0).tolist()) for share in parameters["shares"][index, 0]]
        orders.add((*kinds, int(parameters["hue_slots"][index, 0])))
    assert len(orders) == len(list(itertools.permutations(range(4))))
    assert_close(apply(images.clone(), parameters), expected)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_view_is_the_same_alone_and_in_any_company(name: str) -> None:
    images = random_images(12, (3, 40, 40))
    keys = view_keys(keys_of(12), "views", 1)
    whole = apply(images.clone(), draw([PRESETS[name]], keys))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    shuffled = apply(images[order].clone(), draw([PRESETS[name]], keys[order]))
    assert torch.equal(shuffled, whole[order])
    for row in range(12):
        alone = apply(images[row : row + 1].clone(), draw([PRESETS[name]], keys[row : row + 1]))
        assert float((alone - whole[row : row + 1]).abs().max()) <= 1e-6


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_computing_all_and_choosing_equals_computing_those(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images, parameters = random_images(16, (3, 40, 40)), draw([PRESETS[name]], view_keys(keys_of(16), "views", 1))
    those = apply(images.clone(), parameters)
    monkeypatch.setattr(module, "_change_those", module._change_all)
    assert float((apply(images.clone(), parameters) - those).abs().max()) <= 1e-6


def test_probabilities_and_strengths_hold() -> None:
    num = 100_000
    augmentation = Augmentation(
        affine_probability=0.7,
        rotation=20.0,
        jitter_probability=0.8,
        brightness=0.4,
        hue=0.1,
        grey_probability=0.2,
        blur_probability=0.5,
        blur_sigma=(0.1, 2.0),
        solarise_probability=0.1,
        noise_probability=0.3,
        noise_sigma=(0.01, 0.2),
    )
    parameters = {name: tensor[:, 0] for name, tensor in drawn(augmentation, num).items()}
    chosen = {"warped": 0.7, "grey": 0.2, "blur_sigmas": 0.5, "solarised": 0.1, "noise_sigmas": 0.3}
    for name, probability in chosen.items():
        assert abs(float((parameters[name] > 0).float().mean()) - probability) < 0.006
    brightness = parameters["shares"][:, 0, 0]
    assert abs(float((brightness != 1).float().mean()) - 0.8) < 0.006
    for slot in range(2):  # before and after brightness, half of the jittered each
        assert abs(float((parameters["hue_slots"] == slot).float().mean()) - 0.4) < 0.006
    for values, low, high in (
        (brightness[brightness != 1], 0.6, 1.4),
        (parameters["hue_shifts"], -0.1, 0.1),
        (parameters["blur_sigmas"][parameters["blur_sigmas"] > 0], 0.1, 2.0),
        (parameters["noise_sigmas"][parameters["noise_sigmas"] > 0], 0.01, 0.2),
        (torch.rad2deg(torch.asin(parameters["matrices"][:, 0, 1].double())), -20.0, 20.0),
    ):
        assert stats.kstest(values.numpy(), "uniform", args=(low, high - low)).pvalue > 1e-3
    chances = torch.stack([(parameters[name] > 0).float() for name in chosen])
    assert float((torch.corrcoef(chances) - torch.eye(5)).abs().max()) < 0.015  # drawn apart from each other


def test_views_groups_and_epochs_differ() -> None:
    keys = keys_of(1000)
    columns = [*view_keys(keys, "global_crops", 2).T, *view_keys(keys, "local_crops", 2).T]
    columns += [*view_keys(keys_of(1000, epoch=1), "global_crops", 2).T]
    assert len(torch.cat(columns).unique()) == 6000


def test_the_neutral_augmentation_changes_nothing() -> None:
    images = random_images(6, (3, 16, 16))
    assert torch.equal(apply(images.clone(), drawn(Augmentation(), 6)), images)


@pytest.mark.parametrize("num_channels", [1, 2, 6])
def test_brightness_and_contrast_act_on_any_number_of_channels(num_channels: int) -> None:
    images = random_images(6, (num_channels, 24, 24))
    augmentation = Augmentation(jitter_probability=1.0, brightness=0.4, contrast=0.4, blur_probability=0.5)
    augmentation.check(num_channels, 24)
    changed = apply(images.clone(), drawn(augmentation, 6))
    assert changed.shape == images.shape
    assert not torch.equal(changed, images)
    order = list(range(num_channels))[::-1]
    again = apply(images[:, order].clone(), drawn(augmentation, 6))  # no channel is special
    assert float((again[:, order] - changed).abs().max()) <= 1e-6
