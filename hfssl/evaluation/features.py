"""Features of a checkpoint folder, read as a stranger would: AutoModel, its processor, and the pooling in its config.

N samples, T tokens, D width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel

_BATCH = 256


def pool(hidden_NTD: Tensor, pooling: str) -> Tensor:
    """One vector a sample out of `last_hidden_state`: `cls` the first token, `mean` all, `mean_patches` all but the first."""
    if pooling == "cls":
        return hidden_NTD[:, 0]
    if pooling == "mean":
        return hidden_NTD.mean(dim=1)
    if pooling == "mean_patches":
        return hidden_NTD[:, 1:].mean(dim=1)
    raise ValueError(f"pooling must be cls, mean or mean_patches, got {pooling}")


@torch.inference_mode()
def image_features(folder: Path, images: Sequence[Tensor], device: torch.device) -> "np.ndarray[Any, Any]":
    """(N, D) float32 features of (C, h, w) uint8 images."""
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).to(device).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    pooled = []
    for start in range(0, len(images), _BATCH):
        batch = list(images[start : start + _BATCH])
        encoded = processor(images=batch, return_tensors="pt", input_data_format="channels_first")
        hidden = model(pixel_values=encoded["pixel_values"].to(device)).last_hidden_state
        pooled.append(pool(hidden, model.config.hfssl_pooling).float().cpu())
    features: np.ndarray[Any, Any] = torch.cat(pooled).numpy()
    return features
