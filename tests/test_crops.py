"""Crops: torchvision's pixels, torchvision's distribution."""

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2.functional import InterpolationMode, horizontal_flip
from torchvision.transforms.v2.functional import resized_crop as reference_crop

from hfssl.data.images.crops import crop_boxes, resized_crop
from hfssl.randomness import sample_keys

NUM = 20_000


def boxes_for(num: int, height: int, width: int, scale: tuple[float, float]) -> torch.Tensor:
    keys = sample_keys(0, torch.zeros(num, dtype=torch.int64), torch.arange(num))
    return crop_boxes(keys, "crop", torch.full((num,), height), torch.full((num,), width), scale)


@pytest.mark.parametrize(("height", "width", "size"), [(32, 32, 32), (8, 8, 16), (40, 64, 24), (96, 96, 32)])
def test_equals_torchvision(height: int, width: int, size: int) -> None:
    images = torch.rand(16, 3, height, width)
    boxes = boxes_for(16, height, width, (0.05, 1.0))
    flips = torch.arange(16) % 2 == 1
    ours = resized_crop(images, boxes, size, flips)
    for image, box, flip, result in zip(images, boxes.tolist(), flips, ours, strict=True):
        expected = reference_crop(image, *box, [size, size], InterpolationMode.BICUBIC, antialias=True)
        expected = horizontal_flip(expected) if flip else expected
        assert float((result - expected).abs().max()) <= 2e-6


def test_boxes_follow_torchvisions_distribution() -> None:
    ours = boxes_for(NUM, 50, 80, (0.2, 1.0)).numpy()
    image = torch.zeros(3, 50, 80)
    torch.manual_seed(0)
    theirs = np.array([RandomResizedCrop.get_params(image, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(NUM)])
    for column in range(4):
        edges = np.arange(-0.5, 81.5, 4)
        table = np.stack([np.histogram(boxes[:, column], edges)[0] for boxes in (ours, theirs)])
        table = table[:, table.sum(axis=0) > 20]
        assert stats.chi2_contingency(table).pvalue > 1e-4


@pytest.mark.parametrize(("height", "width"), [(50, 80), (10, 200), (200, 10), (1, 1), (8, 8)])
def test_boxes_lie_inside_the_image(height: int, width: int) -> None:
    top, left, box_height, box_width = boxes_for(2000, height, width, (0.05, 1.0)).unbind(1)
    assert bool((torch.stack([top, left]) >= 0).all())
    assert bool((torch.stack([box_height, box_width]) >= 1).all())
    assert bool((top + box_height <= height).all())
    assert bool((left + box_width <= width).all())


def test_an_elongated_image_falls_back_to_its_largest_central_box() -> None:
    boxes = boxes_for(500, 10, 200, (0.9, 1.0))
    assert boxes.unique(dim=0).tolist() == [[0, 93, 10, 13]]
