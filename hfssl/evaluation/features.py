"""Features of a checkpoint, loaded with plain `from_pretrained`: AutoModel, its processor, and one vector an image.

N samples, T tokens, D width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    BaseImageProcessor,
    PretrainedConfig,
    PreTrainedModel,
)

from hfssl.checkpoints.locate import loading
from hfssl.errors import require
from hfssl.evaluation.pixels import pixel_blocks
from hfssl.models.pooler import untrained, without_pooler_of
from hfssl.models.pooling import pool, pooling_of, registers_of
from hfssl.models.stock_encoder import encoder_class
from hfssl.objective import Array, BadRowError, Examples

BATCH = 256
_BATCHES_A_BLOCK = 16


@dataclass(frozen=True)
class Encoder:
    """A loaded checkpoint: pooling is `cls`, `mean`, `mean_patches` or `mean_positions` (feature maps)."""

    model: PreTrainedModel
    processor: BaseImageProcessor
    pooling: str

    @property
    def num_channels(self) -> int:
        """What the model takes; 3 where its config does not say."""
        return int(self.model.config.to_dict().get("num_channels", 3))


def open_encoder(name: str | Path, device: torch.device) -> Encoder:
    """The encoder of any image checkpoint of transformers, in eval mode.

    Raises:
        ConfigError: it cannot be loaded, has no image processor, or is of another modality.
    """
    with loading(str(name)):
        config, options = _config_for_features(name)
        processor = AutoImageProcessor.from_pretrained(name)
        model, info = AutoModel.from_pretrained(name, config=config, output_loading_info=True, **options)
    missing = untrained(info["missing_keys"])
    require(
        not missing, f"{name} lacks weights of the encoder ({', '.join(missing[:3])}): its features would be random"
    )
    return Encoder(model.to(device).eval(), processor, pooling_of(config))


def untrained_encoder(name: str | Path, seed: int, device: torch.device) -> Encoder:
    """A model of the same configuration with fresh weights from `seed`."""
    config, options = _config_for_features(name)
    torch.manual_seed(seed)
    model = AutoModel.from_config(config, **options)
    return Encoder(model.to(device).eval(), AutoImageProcessor.from_pretrained(name), pooling_of(config))


def _config_for_features(name: str | Path) -> tuple[PretrainedConfig, dict[str, bool]]:
    """(config, further arguments of the model): no pooler that was never trained, and nothing hidden from the encoder."""
    config = AutoConfig.from_pretrained(name)
    encoder_class(config, str(name))
    if config.model_type == "vit_mae":
        config.mask_ratio = 0.0
    return config, without_pooler_of(config)


class FeatureBlock(NamedTuple):
    """Features of a block of rows: (B, D) float32 on the host; bad: row -> why it could not be decoded."""

    rows: list[int]
    features_BD: Tensor
    bad: dict[int, str]


def feature_blocks(encoder: Encoder, images: Examples, batch_size: int = BATCH) -> Iterator[FeatureBlock]:
    """Features of all images in order, in blocks of several batches; never more than a few images are held decoded."""
    device = next(encoder.model.parameters()).device
    rows: list[int] = []
    pooled: list[Tensor] = []
    bad: dict[int, str] = {}
    for block in pixel_blocks(images, encoder.processor, batch_size, device):
        rows += block.rows
        bad |= block.bad
        if block.pixel_values is not None:
            pooled.append(_pooled(encoder, block.pixel_values.to(device)))
        if len(pooled) == _BATCHES_A_BLOCK:
            yield FeatureBlock(rows, torch.cat(pooled).cpu(), bad)  # the one wait for the device
            rows, pooled, bad = [], [], {}
    if rows or bad:
        yield FeatureBlock(rows, torch.cat(pooled).cpu() if pooled else torch.zeros(0, 0), bad)


def image_features(encoder: Encoder, images: Examples, batch_size: int = BATCH) -> Array:
    """(N, D) float32 features of (C, h, w) uint8 images that can all be decoded."""
    blocks = list(feature_blocks(encoder, images, batch_size))
    broken = {row: reason for block in blocks for row, reason in block.bad.items()}
    if broken:
        row, reason = next(iter(broken.items()))
        raise BadRowError(f"image {row} {reason}")
    features: Array = torch.cat([block.features_BD for block in blocks]).numpy()
    return features


@torch.inference_mode()
def _pooled(encoder: Encoder, pixel_values: Tensor) -> Tensor:
    hidden = encoder.model(pixel_values=pixel_values).last_hidden_state
    return pool(hidden, encoder.pooling, registers_of(encoder.model.config)).float()
