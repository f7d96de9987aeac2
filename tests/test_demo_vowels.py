"""demo:vowels: the same everywhere, other voices in the test split, and vowels that can be told apart."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hfssl.data.demo import sets as demo

_PRINT = "from hfssl.data.demo.vowels import vowels; print(*[rows._fingerprint for rows in vowels().values()])"
Array = np.ndarray[Any, Any]
SETS = demo.SETS["vowels"]()


def audio_of(split: str) -> list[Array]:
    return [soundfile.read(io.BytesIO(sample["bytes"]))[0] for sample in SETS[split]["audio"]]


def test_clips_are_short_mono_and_never_clipped() -> None:
    for split, count in {"train": 600, "test": 200}.items():
        assert len(SETS[split]) == count
        for sample in SETS[split]["audio"]:
            info = soundfile.info(io.BytesIO(sample["bytes"]))
            assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
            assert 0.79 <= info.duration <= 2.01
        peaks = np.array([np.abs(audio).max() for audio in audio_of(split)])
        assert peaks.max() < 0.95
        assert peaks.min() > 0.05


def test_every_voice_speaks_all_vowels_and_none_is_in_both_splits() -> None:
    voices = {split: set(rows["voice"]) for split, rows in SETS.items()}
    assert (len(voices["train"]), len(voices["test"])) == (40, 20)
    for split, rows in SETS.items():
        assert all(name.startswith(split) for name in voices[split])
        assert len(set(zip(rows["voice"], rows["label"], strict=True))) == 8 * len(voices[split])
        assert np.bincount(rows["label"]).min() > 0.08 * len(rows)


def test_another_process_makes_the_same(tmp_path: Path) -> None:
    fresh = subprocess.run(
        [sys.executable, "-c", _PRINT],
        env=os.environ | {"PYTHONHASHSEED": "7", "HFSSL_CACHE": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert fresh.stdout.split() == [rows._fingerprint for rows in SETS.values()]


def log_spectra(split: str) -> Array:
    """Mean log energy in 32 bands of equal width, (clips, 32)."""
    rows = []
    for audio in audio_of(split):
        frames = np.lib.stride_tricks.sliding_window_view(audio, 400)[::160] * np.hanning(400)
        power = np.abs(np.fft.rfft(frames, 512))[:, :256] ** 2
        rows.append(np.log(power.reshape(len(power), 32, 8).sum(axis=2) + 1e-8).mean(axis=0))
    return np.array(rows)


def test_the_vowels_of_new_voices_are_told_apart_by_their_spectra_but_not_all() -> None:
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1_000))
    classifier.fit(log_spectra("train"), SETS["train"]["label"][:])
    accuracy = classifier.score(log_spectra("test"), SETS["test"]["label"][:])
    assert 0.4 < accuracy < 0.95  # chance is 0.125
