"""demo:vowels: the same everywhere, other voices in the test split, and vowels that can be told apart."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from datasets import Dataset, DatasetDict
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hfssl.data.demo import sets as demo
from tests.support.interpreter import Interpreter

pytestmark = pytest.mark.slow  # the first that opens the set makes it, which takes seconds

FEWER = {"train": (4, 15), "test": (2, 10)}  # voices, clips of each
MADE_AGAIN = f"""
import os
os.environ["HFSSL_CACHE"] = arguments[0]
from hfssl.data.demo import vowels
vowels._CLIPS = {FEWER}
answer = [rows._fingerprint for rows in vowels.vowels().values()]
"""
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def vowels() -> DatasetDict:
    return demo.SETS["vowels"]()


def audio_of(rows: Dataset) -> list[Array]:
    return [soundfile.read(io.BytesIO(sample["bytes"]))[0] for sample in rows["audio"]]


def test_clips_are_short_mono_and_never_clipped(vowels: DatasetDict) -> None:
    for split, count in {"train": 600, "test": 200}.items():
        assert len(vowels[split]) == count
        for sample in vowels[split]["audio"]:
            info = soundfile.info(io.BytesIO(sample["bytes"]))
            assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
            assert 0.79 <= info.duration <= 2.01
        peaks = np.array([np.abs(audio).max() for audio in audio_of(vowels[split])])
        assert peaks.max() < 0.95
        assert peaks.min() > 0.05


def test_every_voice_speaks_all_vowels_and_none_is_in_both_splits(vowels: DatasetDict) -> None:
    voices = {split: set(rows["voice"]) for split, rows in vowels.items()}
    assert (len(voices["train"]), len(voices["test"])) == (40, 20)
    for split, rows in vowels.items():
        assert all(name.startswith(split) for name in voices[split])
        assert len(set(zip(rows["voice"], rows["label"], strict=True))) == 8 * len(voices[split])
        assert np.bincount(rows["label"]).min() > 0.08 * len(rows)


def test_another_process_makes_the_same_clips_of_the_first_voices(
    vowels: DatasetDict, tmp_path: Path, other_interpreter: Interpreter
) -> None:
    first = [vowels[split].select(range(voices * clips)) for split, (voices, clips) in FEWER.items()]
    digests = [hashlib.sha256(b"".join(sample["bytes"] for sample in rows["audio"])).hexdigest() for rows in first]
    assert other_interpreter(MADE_AGAIN, str(tmp_path)) == [
        f"demo-vowels-{split}-{digest[:16]}" for split, digest in zip(FEWER, digests, strict=True)
    ]


def log_spectra(rows: Dataset) -> Array:
    """Mean log energy in 32 bands of equal width, (clips, 32)."""
    spectra = []
    for audio in audio_of(rows):
        frames = np.lib.stride_tricks.sliding_window_view(audio, 400)[::160] * np.hanning(400)
        power = np.abs(np.fft.rfft(frames, 512))[:, :256] ** 2
        spectra.append(np.log(power.reshape(len(power), 32, 8).sum(axis=2) + 1e-8).mean(axis=0))
    return np.array(spectra)


def test_the_vowels_of_new_voices_are_told_apart_by_their_spectra_but_not_all(vowels: DatasetDict) -> None:
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1_000))
    classifier.fit(log_spectra(vowels["train"]), vowels["train"]["label"][:])
    accuracy = classifier.score(log_spectra(vowels["test"]), vowels["test"]["label"][:])
    assert 0.4 < accuracy < 0.95  # chance is 0.125
