"""Small recordings for tests of the audio path."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from hfssl.data.audio.config import AudioDataConfig

RATE = 16_000


def noise(seconds: float, seed: int, channels: int = 1, rate: int = RATE) -> "np.ndarray[Any, Any]":
    """(T, channels) float64, no two samples alike."""
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (round(seconds * rate), channels))


def write_recordings(folder: Path, seconds: list[float], kind: str = "wav", rate: int = RATE) -> None:
    """Files 00, 01, ... of these lengths, by turns in the folders a and b."""
    for index, length in enumerate(seconds):
        target = folder / "ab"[index % 2]
        target.mkdir(parents=True, exist_ok=True)
        soundfile.write(target / f"{index:02}.{kind}", noise(length, index, rate=rate), rate)


def config_for(dataset: Path | str, **settings: Any) -> AudioDataConfig:
    chosen: dict[str, Any] = {"max_duration_seconds": 1.0, "min_duration_seconds": 0.2, "batch_seconds": 4.0}
    return AudioDataConfig(dataset=str(dataset), **chosen | settings)
