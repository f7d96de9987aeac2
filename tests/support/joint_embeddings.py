"""Tiny objectives of the methods that compare views, built directly: any backbone, any setting, batches of random views."""

import dataclasses
from typing import Any

import torch
from transformers import AutoConfig

from hfssl import catalog
from hfssl.data.images.config import ImageDataConfig
from hfssl.methods.vision_objective import VisionObjective
from hfssl.objective import Batch
from hfssl.randomness import sample_keys
from tests.support.backbones import SETTINGS

NAMES = ("byol", "dino", "moco", "simclr", "swav")
WITH_TEACHER = ("byol", "dino", "moco")
DATA = ImageDataConfig(dataset="demo:digits", image_size=32, num_workers=0)
APPLIED = torch.tensor(True)


def objective_of(name: str, kind: str | None = None, **settings: Any) -> Any:
    """A method on a tiny ViT for images of 32 px, or on a tiny backbone of another kind; in training mode."""
    config_class, objective_class = catalog.method(name)
    local = {"local_crop_size": 16} if name in ("dino", "swav") and "local_crop_size" not in settings else {}
    config: Any = dataclasses.replace(config_class.tiny(), **{"patch_size": 8} | local | settings)
    model_config = None
    data = DATA
    if kind is not None:
        model_config = AutoConfig.for_model(kind, **SETTINGS[kind])
        config, data = config.adopt(data, model_config, frozenset())
    torch.manual_seed(0)
    pipeline = objective_class.data_pipeline(config, data, None)
    built = objective_class.build(config, pipeline, model_config)
    assert isinstance(built, VisionObjective)
    return built.train()


def views(num_images: int, *, num_local: int = 0, seed: int = 0, dtype: torch.dtype = torch.float32) -> Batch:
    """Random global crops of 32 px and local ones of 16 px, with the samples' keys."""
    generator = torch.Generator().manual_seed(seed)
    ids_B = torch.arange(num_images)
    batch = {
        "global_crops": torch.randn(num_images, 2, 3, 32, 32, generator=generator).to(dtype),
        "sample_ids": ids_B,
        "keys": sample_keys(0, torch.zeros_like(ids_B), ids_B),
    }
    if num_local:
        batch["local_crops"] = torch.randn(num_images, num_local, 3, 16, 16, generator=generator).to(dtype)
    return batch
