"""Features of a checkpoint, read as a stranger would: AutoModel, its processor, and one vector an image.

N samples, T tokens, D width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import MODEL_MAPPING, AutoConfig, AutoImageProcessor, AutoModel

from hfssl.checkpoints.adapter_files import CONFIG_FILE, adapter_at
from hfssl.errors import ConfigError, one_line, require
from hfssl.evaluation.pixels import pixel_blocks
from hfssl.models.pooling import pool, pooling_of, registers_of
from hfssl.models.stock_encoder import UNREADABLE, encoder_class, without_pooler
from hfssl.objective import BadRowError, Examples
from hfssl.run_dir import RunDir

Array = np.ndarray[Any, Any]
BATCH = 256
_BATCHES_A_BLOCK = 16


@dataclass(frozen=True)
class Encoder:
    """A loaded checkpoint: pooling is `cls`, `mean`, `mean_patches` or `mean_positions` (feature maps)."""

    model: Any
    processor: Any
    pooling: str

    @property
    def num_channels(self) -> int:
        """What the model takes; 3 where its config does not say."""
        return int(self.model.config.to_dict().get("num_channels", 3))


class Checkpoint(NamedTuple):
    """location: what from_pretrained takes; name: what tables call it, a Hub id or the last part of a path."""

    location: str
    name: str


def find_checkpoint(model: str) -> Checkpoint:
    """A run folder stands for its export.

    Raises:
        ConfigError: a run without an export, or of another version of hfssl.
    """
    path = Path(model).expanduser()
    if not path.is_dir():
        name = public_name(model)
        require(name == model, f"--model {model} is no folder: give a run folder, an export or a Hub id")
        return Checkpoint(model, name)
    path = path.resolve()
    run_dir = RunDir(path)
    if not run_dir.is_run():
        return Checkpoint(str(path), path.parent.name if RunDir(path.parent).export == path else path.name)
    remedy = f"python recipes/export.py --run {model} makes one of its newest checkpoint"
    is_there = any((run_dir.export / name).is_file() for name in ("config.json", CONFIG_FILE))
    require(is_there, f"--model {model} has no export yet: {remedy}")
    return Checkpoint(str(run_dir.export), path.name)


def input_of(checkpoint: Checkpoint) -> str:
    """What the model reads: `pixel_values`, `input_ids`, `input_values`, as transformers names it.

    Raises:
        ConfigError: there is no such checkpoint.
    """
    adapter = adapter_at(checkpoint.location)
    try:
        config = AutoConfig.from_pretrained(checkpoint.location if adapter is None else adapter.base)
    except UNREADABLE as error:
        raise ConfigError(f"--model {checkpoint.name} can not be loaded: {one_line(error)}") from error
    known: Any = MODEL_MAPPING.get(type(config), None)
    return "pixel_values" if known is None else str(known.main_input_name)


def public_name(name: str) -> str:
    """A Hub id as it is; of a local folder or file its last part alone."""
    path = Path(name).expanduser()
    is_local = path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1
    return path.resolve().name if is_local else name


def open_encoder(name: str | Path, device: torch.device) -> Encoder:
    """The encoder of any image checkpoint of transformers, in eval mode.

    Raises:
        ConfigError: it can not be loaded, has no image processor, or is of another modality.
    """
    try:
        config, options = _config_for_features(name)
        processor = AutoImageProcessor.from_pretrained(name)
        model, info = AutoModel.from_pretrained(name, config=config, output_loading_info=True, **options)
    except ConfigError:
        raise
    except UNREADABLE as error:
        raise ConfigError(f"{name} can not be loaded as an image encoder: {one_line(error)}") from error
    missing = sorted(key for key in info["missing_keys"] if "pooler" not in key)
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


def _config_for_features(name: str | Path) -> tuple[Any, dict[str, Any]]:
    """(config, further arguments of the model): no pooler that was never trained, and nothing hidden from the encoder."""
    config = AutoConfig.from_pretrained(name)
    encoder_class(config, str(name))
    if config.model_type == "vit_mae":
        config.mask_ratio = 0.0
    return config, without_pooler(config)


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
