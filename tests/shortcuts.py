"""How much a linear model makes of what should tell it nothing."""

import dataclasses
from typing import Any

import numpy as np
import torch
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from hfssl import catalog
from hfssl.data.image_config import ImageDataConfig
from hfssl.objective import Batch, DataSpec
from hfssl.randomness import sample_keys

Array = np.ndarray[Any, Any]


SIZE = 32


def noise_rows(name: str, lens: Tensor, num_rows: int, **settings: Any) -> tuple[DataSpec, Batch]:
    """A method's data path, and a collated batch of white noise, uncropped and not mirrored, behind the same `lens` (SIZE,
    SIZE), which multiplies brightness and contrast from place to place."""
    config_class, objective_class = catalog.method(name)
    plain = {"augmentation": "plain", "crop_scale": (1.0, 1.0), "horizontal_flip_probability": 0.0}
    config: Any = dataclasses.replace(config_class.tiny(), **plain | settings)
    spec = objective_class.data_spec(config, ImageDataConfig(dataset="demo:digits", image_size=SIZE), None)
    spec.uniform = True
    noise = torch.randn(num_rows, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    images = ((110 + 30 * noise) * lens).clamp(0, 255).to(torch.uint8)
    ids_B = torch.arange(num_rows)
    keys_B = sample_keys(0, torch.zeros_like(ids_B), ids_B)
    return spec, spec.collate(list(images), keys_B) | {"sample_ids": ids_B, "keys": keys_B}


def tells_more_than_chance(inputs: Array, labels: Array, *, of_one: int) -> bool:
    """Whether logistic regression on half of the rows is right on the other half more often than guessing is in 97.5 % of
    the cases. Inputs are rounded, or their last digits, standardised, would count as much as the first.

    Args:
        of_one: rows in a series that come from one image, which stay together.
    """
    middle = len(inputs) // of_one // 2 * of_one
    inputs = inputs.round(3)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    probe.fit(inputs[:middle], labels[:middle])
    num_tested = len(inputs) - middle
    right = probe.score(inputs[middle:], labels[middle:]) * num_tested
    return bool(right > binom.ppf(0.975, num_tested, 1 / len(np.unique(labels))))
