"""Evaluating an image checkpoint."""

from typing import Any, ClassVar

import numpy as np
import torch

from hfssl.data.images.source import open_images
from hfssl.data.source import Source
from hfssl.errors import require
from hfssl.evaluation.evaluate_config import EvaluateConfig
from hfssl.evaluation.features import Checkpoint, image_features, open_encoder, untrained_encoder
from hfssl.evaluation.image_table import PROTOCOL
from hfssl.evaluation.images import Images, baselines
from hfssl.evaluation.modality import Features, Modality

Array = np.ndarray[Any, Any]


class ImageModality(Modality):
    samples: ClassVar[str] = "images"
    hashed_by: ClassVar[str] = "pixels"
    protocol: ClassVar[dict[str, Any]] = PROTOCOL

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self._location = checkpoint.location
        self._encoder = open_encoder(checkpoint.location, device)
        self.pooling = self._encoder.pooling

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self._encoder.model.parameters()).device
        return device

    def open_data(self, config: EvaluateConfig) -> Source:
        return open_images(config.image_data(self._encoder.num_channels))

    def samples_of(self, source: Source) -> Images:
        images = Images(source, self._encoder.num_channels)
        require(bool(images.rows), f"no image of the split {source.split} can be decoded")
        return images

    def features(self, samples: Images, batch_size: int) -> Array:
        return image_features(self._encoder, samples, batch_size)

    def untrained_features(self, sides: tuple[Images, Images], seed: int, batch_size: int) -> Features:
        encoder = untrained_encoder(self._location, seed, self.device)
        train_ND, test_MD = (image_features(encoder, side, batch_size) for side in sides)
        return Features(train_ND, test_MD)

    def baselines(self, train: Images, test: Images) -> dict[str, Features]:
        return {name: Features(*pair) for name, pair in baselines(train, test).items()}
