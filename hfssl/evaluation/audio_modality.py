"""Evaluating a speech checkpoint."""

from typing import Any, ClassVar

import numpy as np
import torch

from hfssl.checkpoints.locate import Checkpoint
from hfssl.data.audio.source import open_recordings
from hfssl.data.source import Source
from hfssl.evaluation.audio_features import layer_features, open_audio_encoder, untrained_audio_encoder
from hfssl.evaluation.audio_table import PROTOCOL
from hfssl.evaluation.clips import FLOOR, Clips, log_mel_statistics
from hfssl.evaluation.evaluate_config import EvaluateConfig
from hfssl.evaluation.layers import layer_probes, sentence
from hfssl.evaluation.modality import Features, Modality

Array = np.ndarray[Any, Any]


class AudioModality(Modality):
    samples: ClassVar[str] = "recordings"
    hashed_by: ClassVar[str] = "samples"
    protocol: ClassVar[dict[str, Any]] = PROTOCOL
    pooling = "mean"

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self._location = checkpoint.location
        self._encoder = open_audio_encoder(checkpoint.location, device)
        self._layers: dict[int, Array] = {}

    @property
    def device(self) -> torch.device:
        device: torch.device = self._encoder.model.device
        return device

    def open_data(self, config: EvaluateConfig) -> Source:
        return open_recordings(config.audio_data())

    def samples_of(self, source: Source) -> Clips:
        return Clips(source, self._encoder.sampling_rate)

    def features(self, samples: Clips, batch_size: int) -> Array:
        layers_NLD = layer_features(self._encoder, samples, batch_size)
        self._layers[id(samples)] = layers_NLD
        return layers_NLD[:, -1]

    def untrained_features(self, sides: tuple[Clips, Clips], seed: int, batch_size: int) -> Features:
        encoder = untrained_audio_encoder(self._location, seed, self.device)
        train_ND, test_MD = (layer_features(encoder, side, batch_size)[:, -1] for side in sides)
        return Features(train_ND, test_MD)

    def baselines(self, train: Clips, test: Clips) -> dict[str, Features]:
        return {FLOOR: Features(log_mel_statistics(train), log_mel_statistics(test))}

    def beyond_table(self, train: Clips, test: Clips, config: EvaluateConfig) -> tuple[dict[str, Any], list[str]]:
        assert train.labels is not None
        assert test.labels is not None
        figures = layer_probes(self._layers[id(train)], train.labels, self._layers[id(test)], test.labels)
        return {"layers": figures}, [sentence(figures)]
