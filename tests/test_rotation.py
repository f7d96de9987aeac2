"""Rotation prediction: lossless turns, right labels, and nothing but the picture's content gives a turn away."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import log_softmax
from torchvision.transforms.v2.functional import InterpolationMode, rotate

from hfssl.config.parse import parse
from hfssl.data.images.config import ImageDataConfig
from hfssl.errors import ConfigError
from hfssl.methods.rotation.config import RotationConfig
from hfssl.methods.rotation.quarter_turns import DEGREES, quarter_turns
from tests.support.laboratory import open_small, steps_of
from tests.support.shortcuts import SIZE, noise_rows, tells_more_than_chance


def test_turns_are_torchvisions_and_move_pixels_alone() -> None:
    images = torch.randint(0, 256, (3, 2, 6, 6), dtype=torch.uint8)
    turned = quarter_turns(images)
    assert turned.shape == (3, 4, 2, 6, 6)
    for turn, degrees in enumerate(DEGREES):
        assert torch.equal(turned[:, turn], rotate(images, degrees))
        for before, after in zip(images.flatten(1), turned[:, turn].flatten(1), strict=True):
            assert torch.equal(before.sort().values, after.sort().values)


def test_images_are_cropped_first_and_turned_last(tmp_path: Path) -> None:
    opened = open_small("rotation", tmp_path)
    raw = steps_of(opened, 1)[0][0]
    pipeline = opened.rows.pipeline
    upright = super(type(pipeline), pipeline).cut(dict(raw))["global_crops"][:, 0]
    assert torch.equal(pipeline.augment(dict(raw), 0.0)["rotations"], quarter_turns(upright))


def test_loss_and_accuracy_equal_a_slow_loop(tmp_path: Path) -> None:
    opened = open_small("rotation", tmp_path)
    objective, batch = opened.objective, opened.rows.pipeline.augment(steps_of(opened, 1)[0][0], 0.0)
    output = objective(batch, 0.0)
    total, right = 0.0, 0
    with torch.no_grad():
        for image in batch["rotations"][:, 0]:
            for number in range(4):
                logits = objective.classifier(objective.backbone(torch.rot90(image, number, (1, 2))[None]))[0]
                total -= float(log_softmax(logits, dim=0)[number])
                right += int(logits.argmax()) == number
    assert float(output.loss_sum.detach()) == pytest.approx(total, rel=1e-5)
    assert float(output.num_targets) == 4 * len(batch["rotations"])
    assert float(output.metrics["accuracy"]) == pytest.approx(right / float(output.num_targets))
    assert float(output.metrics["baseline_loss"]) == pytest.approx(math.log(4))


def test_the_task_on_whole_images_is_scored_by_turn(tmp_path: Path) -> None:
    opened = open_small("rotation", tmp_path)
    objective = opened.objective.eval()
    batch = opened.rows.pipeline.eval_transform([opened.rows.examples[row] for row in range(6)])
    solved = objective.pretext(batch)
    assert list(solved.correct) == [f"turned by {degrees}°" for degrees in DEGREES]
    assert solved.chance == 0.25
    with torch.no_grad():  # a classifier that always says 180 degrees
        objective.classifier.weight.zero_()
        objective.classifier.bias.copy_(torch.tensor([0.0, 0.0, 1.0, 0.0]))
    assert [float(part.mean()) for part in objective.pretext(batch).correct.values()] == [0.0, 0.0, 1.0, 0.0]


def test_the_picture_has_a_row_for_each_turn_with_the_answers(tmp_path: Path) -> None:
    opened = open_small("rotation", tmp_path)
    batch = opened.rows.pipeline.eval_transform([opened.rows.examples[row] for row in range(3)])
    (picture,) = opened.objective.eval().illustrate(batch)
    assert picture.cells.shape[:2] == (4, 3)
    assert picture.titles == ["0°", "90°", "180°", "270°"]
    assert all(caption.startswith("says ") for line in picture.captions for caption in line)
    assert torch.equal(picture.cells[2, 1], torch.rot90(picture.cells[0, 1], 2, (1, 2)))


def test_images_that_are_not_square_are_asked_about_by_their_central_square(tmp_path: Path) -> None:
    pipeline = open_small("rotation", tmp_path).rows.pipeline
    wide = torch.randint(0, 256, (3, 10, 16), dtype=torch.uint8)
    batch = pipeline.eval_transform([wide, wide[:, :, 2:12]])
    expected = pipeline.eval_transform([wide[:, :, 3:13]])["pixel_values"]
    assert torch.equal(batch["squares"][:1], expected)
    assert not torch.allclose(batch["pixel_values"][0], batch["squares"][0], atol=0.05)
    square = pipeline.eval_transform([wide[:, :, :10]])
    assert torch.equal(square["squares"], square["pixel_values"])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--vertical_flip_probability", "0.5"], "vertical_flip_probability must be 0"),
        (["--affine_probability", "1", "--rotation", "50"], "rotation must be below 45 degrees, got 50"),
    ],
)
def test_what_would_make_turns_alike_is_refused(flags: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(RotationConfig, ImageDataConfig, ["--dataset", "someone/something", *flags])


def energy_along_rows(images: Tensor) -> np.ndarray:
    """(N, C, S, S) -> log of horizontal by vertical differences, (N, 1): what a stretched axis changes."""
    across, down = images.diff(dim=3).square().mean(dim=(1, 2, 3)), images.diff(dim=2).square().mean(dim=(1, 2, 3))
    return (across / down).log()[:, None].double().numpy()


@pytest.mark.parametrize("crop_ratio", [(1.0, 1.0), (3 / 4, 4 / 3)])
def test_no_stretched_axis_tells_the_turn_of_landscape_images(crop_ratio: tuple[float, float]) -> None:
    """Of smooth noise 48 x 72, crops of the default shape; those of the usual aspect ratios are mostly wide, and leak."""
    settings = {"crop_ratio": crop_ratio, "crop_scale": (0.5, 1.0)}
    pipeline, raw = noise_rows("rotation", torch.ones(48, 72), 400, is_smooth=True, **settings)
    rotations = pipeline.augment(raw, 0.0)["rotations"]
    labels = np.tile(np.arange(4), len(rotations))
    leaks = tells_more_than_chance(energy_along_rows(rotations.flatten(0, 1)), labels, of_one=4)
    assert leaks == (crop_ratio != (1.0, 1.0))


def borders_and_moments(images: Tensor) -> np.ndarray:
    """(N, C, S, S) -> border pixels, and mean and variance of each quadrant."""
    half = images.shape[-1] // 2
    quadrants = images.unfold(2, half, half).unfold(3, half, half).flatten(4)
    edges = [images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]]
    parts = [*edges, quadrants.mean(dim=4), quadrants.var(dim=4)]
    return torch.cat([part.flatten(1) for part in parts], dim=1).double().numpy()


@pytest.mark.parametrize("is_leaking", [False, True])
def test_neither_borders_nor_means_nor_variances_tell_the_turn_of_noise(is_leaking: bool) -> None:
    """Nothing stands upright in noise behind a lens that darkens all corners alike. A turn that interpolates would show."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, SIZE), torch.linspace(-1, 1, SIZE), indexing="ij")
    pipeline, raw = noise_rows("rotation", 1 - 0.3 * (rows.square() + columns.square()), 2000)
    rotations = pipeline.augment(raw, 0.0)["rotations"]
    if is_leaking:
        rotations[:, 1] = rotate(rotations[:, 1], 1, InterpolationMode.BILINEAR)
    labels = np.tile(np.arange(4), len(rotations))
    assert tells_more_than_chance(borders_and_moments(rotations.flatten(0, 1)), labels, of_one=4) == is_leaking
