"""Features of a checkpoint, read as a stranger would: AutoModel, its processor, and one vector an image.

N samples, T tokens, D width.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoModel

from hfssl.config import require
from hfssl.fields import ConfigError

Array = np.ndarray[Any, Any]
BATCH = 256


@dataclass(frozen=True)
class Encoder:
    """A loaded checkpoint: pooling is `cls`, `mean`, `mean_patches` or `mean_positions` (feature maps)."""

    model: Any
    processor: Any
    pooling: str


def open_encoder(name: str | Path, device: torch.device) -> Encoder:
    """The encoder of any image checkpoint of transformers, in eval mode.

    Raises:
        ConfigError: it can not be loaded, has no image processor, or is of another modality.
    """
    try:
        config, options = _config_for_features(name)
        processor = AutoImageProcessor.from_pretrained(name)
        model, info = AutoModel.from_pretrained(name, config=config, output_loading_info=True, **options)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"{name} can not be loaded as an image encoder: {reason}") from error
    missing = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    require(
        not missing, f"{name} lacks weights of the encoder ({', '.join(missing[:3])}): its features would be random"
    )
    return Encoder(model.to(device).eval(), processor, _pooling(config))


def untrained_encoder(name: str | Path, seed: int, device: torch.device) -> Encoder:
    """A model of the same configuration with fresh weights from `seed`."""
    config, options = _config_for_features(name)
    torch.manual_seed(seed)
    model = AutoModel.from_config(config, **options)
    return Encoder(model.to(device).eval(), AutoImageProcessor.from_pretrained(name), _pooling(config))


def _config_for_features(name: str | Path) -> tuple[Any, dict[str, Any]]:
    """(config, further arguments of the model): no pooler that was never trained, and nothing hidden from the encoder."""
    config = AutoConfig.from_pretrained(name)
    if config.model_type == "vit_mae":
        config.mask_ratio = 0.0
    return config, {"add_pooling_layer": False} if config.model_type in ("vit", "deit", "beit") else {}


def _pooling(config: Any) -> str:
    """What the checkpoint records, else the class token of a plain transformer, else the mean."""
    recorded = config.to_dict().get("hfssl_pooling")
    if recorded is not None:
        return str(recorded)
    return (
        "cls" if config.model_type in ("vit", "deit", "beit", "dinov2", "dinov2_with_registers", "vit_mae") else "mean"
    )


def pool(hidden: Tensor, pooling: str) -> Tensor:
    """(N, D) out of `last_hidden_state`, (N, T, D) tokens or (N, D, H, W) maps.

    `cls` is the first token, `mean` all tokens or positions, `mean_patches` all tokens but the first.
    """
    if hidden.ndim == 4:
        return hidden.mean(dim=(2, 3))
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "mean":
        return hidden.mean(dim=1)
    if pooling == "mean_patches":
        return hidden[:, 1:].mean(dim=1)
    raise ValueError(f"pooling must be cls, mean or mean_patches, got {pooling}")


@torch.inference_mode()
def image_features(encoder: Encoder, images: Iterable[Tensor]) -> Array:
    """(N, D) float32 features of (C, h, w) uint8 images."""
    device = next(encoder.model.parameters()).device
    pooled = []
    for batch in _batches(images):
        encoded = encoder.processor(images=batch, return_tensors="pt", input_data_format="channels_first")
        hidden = encoder.model(pixel_values=encoded["pixel_values"].to(device)).last_hidden_state
        pooled.append(pool(hidden, encoder.pooling).float().cpu())
    features: Array = torch.cat(pooled).numpy()
    return features


def _batches(images: Iterable[Tensor]) -> Iterator[Sequence[Tensor]]:
    batch: list[Tensor] = []
    for image in images:
        batch.append(image)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
