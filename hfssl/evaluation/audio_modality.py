"""Evaluating speech encoders: their features compared with log-mel statistics, and what each layer knows."""

from pathlib import Path
from typing import ClassVar

import torch

from hfssl.data.audio.config import AudioDataConfig
from hfssl.data.audio.source import open_recordings
from hfssl.data.source import Source
from hfssl.evaluation.audio_features import (
    BATCH,
    AudioEncoder,
    layer_features,
    open_audio_encoder,
    untrained_audio_encoder,
)
from hfssl.evaluation.clips import FLOOR, LONGEST_SECONDS, NUM_MELS, Clips, log_mel_statistics
from hfssl.evaluation.evaluate_config import EvaluateConfig
from hfssl.evaluation.feature_scores import PROTOCOL
from hfssl.evaluation.layers import layer_probes, sentence
from hfssl.evaluation.modality import Features, Further, Modality
from hfssl.objective import Array
from hfssl.run_dir import Json


class AudioModality(Modality[AudioEncoder, Clips]):
    reads: ClassVar[str] = "input_values"
    samples: ClassVar[str] = AudioDataConfig.samples
    own_flags: ClassVar[tuple[str, ...]] = ("audio_column",)
    hashed_by: ClassVar[str] = "samples"
    protocol: ClassVar[Json] = PROTOCOL | {
        "features": f"mean of the last hidden state over a recording's frames, of its first {LONGEST_SECONDS:g} s",
        FLOOR: f"mean and standard deviation over time of {NUM_MELS} log-mel bands",
        "layers": "linear probe of each hidden state, pooled alike; their weighted sum: softmax weights learnt with the "
        "classifier",
    }
    batch_size: ClassVar[int] = BATCH

    def open_encoder(self, location: str | Path, device: torch.device) -> AudioEncoder:
        return open_audio_encoder(location, device)

    def untrained_encoder(self, location: str | Path, seed: int, device: torch.device) -> AudioEncoder:
        return untrained_audio_encoder(location, seed, device)

    def open_data(self, config: EvaluateConfig, encoder: AudioEncoder) -> Source:
        return open_recordings(config.audio_data())

    def samples_of(self, source: Source, encoder: AudioEncoder, most: int | None = None) -> Clips:
        return Clips(source, encoder.sampling_rate, most)

    def encode(self, encoder: AudioEncoder, samples: Clips, batch_size: int) -> Array:
        """All hidden states, (N, L, D)."""
        return layer_features(encoder, samples, batch_size)

    def baselines(self, train: Clips, test: Clips | None) -> dict[str, Features]:
        return {FLOOR: Features(log_mel_statistics(train), None if test is None else log_mel_statistics(test))}

    def layer_figures(self, encoded: tuple[Array, Array], labels: tuple[Array, Array]) -> Further:
        figures = layer_probes(encoded[0], labels[0], encoded[1], labels[1])
        return Further({"layers": figures}, [sentence(figures)])
