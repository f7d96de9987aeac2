"""Evaluating image encoders: their features compared with raw pixels and PCA."""

from pathlib import Path
from typing import ClassVar

import torch

from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.source import open_images
from hfssl.data.source import Source
from hfssl.evaluation.evaluate_config import EvaluateConfig
from hfssl.evaluation.feature_scores import PROTOCOL
from hfssl.evaluation.features import BATCH, Encoder, image_features, open_encoder, untrained_encoder
from hfssl.evaluation.images import FLOOR_SIDE, PCA_VARIANCE, Images, baselines
from hfssl.evaluation.modality import Features, Modality
from hfssl.objective import Array
from hfssl.run_dir import Json


class ImageModality(Modality[Encoder, Images]):
    reads: ClassVar[str] = "pixel_values"
    samples: ClassVar[str] = ImageDataConfig.samples
    own_flags: ClassVar[tuple[str, ...]] = ("image_column",)
    hashed_by: ClassVar[str] = "pixels"
    protocol: ClassVar[Json] = PROTOCOL | {
        "raw pixels": f"pixels in [0, 1], longer than {FLOOR_SIDE} px resized to {FLOOR_SIDE} x {FLOOR_SIDE}",
        "PCA": f"of the raw pixels, components that keep {PCA_VARIANCE:.0%} of the variance",
    }
    batch_size: ClassVar[int] = BATCH

    def open_encoder(self, location: str | Path, device: torch.device) -> Encoder:
        return open_encoder(location, device)

    def untrained_encoder(self, location: str | Path, seed: int, device: torch.device) -> Encoder:
        return untrained_encoder(location, seed, device)

    def pooling(self, encoder: Encoder) -> str:
        return encoder.pooling

    def open_data(self, config: EvaluateConfig, encoder: Encoder) -> Source:
        return open_images(config.image_data(encoder.num_channels))

    def samples_of(self, source: Source, encoder: Encoder, most: int | None = None) -> Images:
        return Images(source, encoder.num_channels, most)

    def encode(self, encoder: Encoder, samples: Images, batch_size: int) -> Array:
        return image_features(encoder, samples, batch_size)

    def baselines(self, train: Images, test: Images | None) -> dict[str, Features]:
        return {name: Features(*pair) for name, pair in baselines(train, test).items()}
