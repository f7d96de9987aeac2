"""How much a linear model makes of what should tell it nothing."""

import dataclasses
from typing import Any

import numpy as np
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from hfssl import catalog
from hfssl.data.images.config import ImageDataConfig
from hfssl.objective import Batch, DataPipeline
from hfssl.randomness import sample_keys

Array = np.ndarray[Any, Any]


SIZE = 32


def noise_rows(
    name: str, lens: Tensor, num_rows: int, *, is_smooth: bool = False, image_size: int = SIZE, **settings: Any
) -> tuple[DataPipeline, Batch]:
    """A method's data path, and a collated batch of noise behind the same `lens` (H, W), which multiplies brightness and
    contrast from place to place. White noise, or smoothed over a pixel or two; uncropped and not mirrored by default."""
    config_class, objective_class = catalog.method(name)
    plain = {"augmentation": "plain", "crop_scale": (1.0, 1.0), "horizontal_flip_probability": 0.0}
    config: Any = dataclasses.replace(config_class.tiny(), affine_probability=None, **plain | settings)
    pipeline = objective_class.data_pipeline(
        config, ImageDataConfig(dataset="demo:digits", image_size=image_size), None
    )
    pipeline.uniform = True
    height, width = lens.shape
    noise = torch.randn(num_rows, 3, height + 8, width + 8, generator=torch.Generator().manual_seed(0))
    if is_smooth:
        noise = 2.5 * gaussian_blur(noise, [7, 7], [1.0, 1.0])
    noise = noise[:, :, 4:-4, 4:-4]  # a blur is another one at its borders
    images = ((110 + 30 * noise) * lens).clamp(0, 255).to(torch.uint8)
    ids_B = torch.arange(num_rows)
    keys_B = sample_keys(0, torch.zeros_like(ids_B), ids_B)
    return pipeline, pipeline.collate(list(images), keys_B) | {"sample_ids": ids_B, "keys": keys_B}


def tells_more_than_chance(inputs: Array, labels: Array, *, of_one: int) -> bool:
    """Whether logistic regression on half of the images is right on the other half more often than guessing, beyond the 95 %
    interval over images. Inputs are rounded, or their last digits, standardised, would count as much as the first.

    Args:
        of_one: rows in a series that come from one image; they stay together and count as one, for their answers depend on
            each other.
    """
    middle = len(inputs) // of_one // 2 * of_one
    inputs = inputs.round(3)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    probe.fit(inputs[:middle], labels[:middle])
    right = (probe.predict(inputs[middle:]) == labels[middle:]).reshape(-1, of_one).mean(axis=1)
    return bool(right.mean() - stats.norm.ppf(0.975) * stats.sem(right) > 1 / len(np.unique(labels)))
