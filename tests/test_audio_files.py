"""Real files: every kind of recording becomes mono at one rate, and what holds no audio is a bad row."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch

from hfssl.data.audio.cache import stored
from hfssl.data.audio.files import decode, frames_of
from hfssl.objective import BadRowError

RATE = 16_000
Array = np.ndarray[Any, Any]


def tones(rate: int = RATE, seconds: float = 1.0, channels: int = 1) -> Array:
    """(T, channels) float32, another tone on each channel."""
    time = np.arange(round(rate * seconds))[:, None] / rate
    return (0.4 * np.sin(2 * np.pi * 220 * (1 + np.arange(channels)) * time)).astype(np.float32)


def encoded(audio: Array, rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> dict[str, Any]:
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, rate, format=kind, subtype=subtype)
    return {"bytes": buffer.getvalue(), "path": None}


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 192_000])
def test_other_rates_are_resampled_as_soxr_does_at_once(rate: int) -> None:
    audio = tones(rate, seconds=300_000 / rate)[:, 0]  # more than one block
    ours = decode(encoded(audio, rate, subtype="FLOAT"), RATE)
    expected = soxr.resample(audio, rate, RATE, quality="HQ")
    assert ours.dtype == torch.float32
    assert np.array_equal(ours.numpy(), expected)
    assert abs(len(ours) - frames_of(encoded(audio, rate), RATE)) <= 1


@pytest.mark.parametrize("channels", [2, 6])
def test_channels_are_averaged(channels: int) -> None:
    audio = tones(channels=channels)
    ours = decode(encoded(audio, subtype="FLOAT"), RATE)
    assert float((ours - torch.from_numpy(audio.mean(axis=1))).abs().max()) < 1e-6


def test_a_tone_keeps_its_pitch_and_loudness_from_192_khz_in_six_channels() -> None:
    one = tones(192_000)
    ours = decode(encoded(np.repeat(one, 6, axis=1), 192_000, subtype="PCM_24"), RATE)
    assert float((ours - torch.from_numpy(tones()[:, 0])).abs()[200:-200].max()) < 1e-3


@pytest.mark.parametrize(
    ("kind", "subtype", "tolerance"),
    [
        ("WAV", "PCM_U8", 1 / 127),
        ("WAV", "PCM_16", 1 / 32767),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "PCM_32", 1e-6),
        ("WAV", "FLOAT", 0.0),
        ("WAV", "DOUBLE", 1e-7),
        ("WAV", "ULAW", 0.02),
        ("FLAC", "PCM_16", 1 / 32767),
        ("FLAC", "PCM_24", 1e-6),
        ("OGG", "VORBIS", 0.05),
    ],
)
def test_every_width_gives_the_same_numbers(kind: str, subtype: str, tolerance: float) -> None:
    audio = tones()[:, 0]
    ours = decode(encoded(audio, kind=kind, subtype=subtype), RATE).numpy()
    assert ours.shape == audio.shape
    assert np.abs(ours - audio).max() <= tolerance


def test_mp3_is_heard() -> None:
    audio = tones(seconds=2.0)[:, 0]
    ours = decode(encoded(audio, kind="MP3"), RATE).numpy()
    assert abs(len(ours) - len(audio)) < 0.1 * RATE
    spectrum = np.abs(np.fft.rfft(ours[8_000:24_000]))
    assert abs(int(spectrum.argmax()) - 220) <= 1


def test_bytes_and_paths_are_the_same(tmp_path: Path) -> None:
    sample = encoded(tones())
    file = tmp_path / "a.wav"
    file.write_bytes(sample["bytes"])
    named = {"bytes": None, "path": str(file)}
    assert torch.equal(decode(named, RATE), decode(sample, RATE))
    assert frames_of(named, RATE) == frames_of(sample, RATE) == RATE


def with_data_size(content: bytes, size: int) -> bytes:
    """A WAV file whose header says that `size` bytes of audio follow."""
    place = content.index(b"data") + 4
    return content[:place] + size.to_bytes(4, "little") + content[place + 4 :]


def with_rate(content: bytes, rate: int) -> bytes:
    return content[:24] + rate.to_bytes(4, "little") + content[28:]


def with_flac_frames(content: bytes, frames: int) -> bytes:
    """A FLAC file whose header says that it has `frames` frames (36 bits from byte 21 on)."""
    return (
        content[:21]
        + bytes([content[21] & 0xF0 | frames >> 32])
        + (frames & 0xFFFFFFFF).to_bytes(4, "big")
        + content[26:]
    )


WAV = encoded(tones())["bytes"]
FLAC = encoded(tones(), kind="FLAC")["bytes"]
OGG = encoded(tones(), kind="OGG")["bytes"]
MP3 = encoded(tones(), kind="MP3")["bytes"]


@pytest.mark.parametrize("content", [with_data_size(WAV, 1 << 31), WAV[: len(WAV) // 2], MP3[: len(MP3) // 2]])
def test_where_a_header_promises_more_than_there_is_the_rest_is_taken(content: bytes) -> None:
    audio = decode({"bytes": content, "path": None}, RATE)
    assert 0.1 * RATE < len(audio) <= 1.1 * RATE


NOT_FINITE = tones()
NOT_FINITE[5_000] = np.nan
INFINITE = tones()
INFINITE[5_000] = np.inf

BAD: dict[str, tuple[bytes, str]] = {
    "text": (b"this is no recording", "cannot be read"),
    "no bytes": (b"", "cannot be read"),
    "noise": (np.random.default_rng(0).bytes(5_000), "cannot be read"),
    "half a FLAC": (FLAC[: len(FLAC) // 2], "cannot be read"),
    "a FLAC with a hole": (FLAC[:2_000] + bytes(2_000) + FLAC[4_000:], "cannot be read"),
    "the first bytes of an Ogg": (OGG[:100], "cannot be read"),
    "a WAV header alone": (WAV[:44], "holds no audio"),
    "a FLAC that says it lasts a month": (with_flac_frames(FLAC, 2**35), "for 596.5 hours"),
    "zero frames by its header": (with_data_size(WAV, 0), "holds no audio"),
    "no rate": (with_rate(WAV, 0), "cannot be read"),
    "one sample a second": (with_rate(WAV, 1), "1 samples per second"),
    "two billion samples a second": (with_rate(WAV, 2**31 - 1), "2147483647 samples per second"),
    "too short to be resampled": (encoded(tones(192_000)[:5], 192_000)["bytes"], "holds no audio"),
    "not a number": (encoded(NOT_FINITE, subtype="FLOAT")["bytes"], "infinite or not a number"),
    "infinite": (encoded(INFINITE, subtype="FLOAT")["bytes"], "infinite or not a number"),
    "far beyond full scale": (encoded(tones() * 1e9, subtype="FLOAT")["bytes"], "where audio lies in"),
    "zeros": (encoded(np.zeros(RATE, np.float32))["bytes"], "is silent"),
    "a constant": (encoded(np.full(RATE, 0.3, np.float32))["bytes"], "is silent"),
    "below 16 bits": (encoded(tones() * 1e-4, subtype="FLOAT")["bytes"], "is silent"),
    "channels that cancel": (encoded(tones() * np.array([[1.0, -1.0]]), subtype="FLOAT")["bytes"], "is silent"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_holds_no_audio_is_a_bad_row_with_a_reason(kind: str) -> None:
    content, reason = BAD[kind]
    with pytest.raises(BadRowError, match=reason):
        decode({"bytes": content, "path": None}, RATE)


@pytest.mark.parametrize("sample", [None, {"bytes": None, "path": None}, {"bytes": None, "path": ""}])
def test_an_empty_row_is_a_bad_row(sample: Any) -> None:
    for read in (decode, frames_of):
        with pytest.raises(BadRowError, match="holds no recording"):
            read(sample, RATE)


def test_a_missing_file_is_a_bad_row(tmp_path: Path) -> None:
    for read in (decode, frames_of):
        with pytest.raises(BadRowError, match="cannot be read"):
            read({"bytes": None, "path": str(tmp_path / "gone.wav")}, RATE)


def test_sixteen_bits_are_stored_bit_by_bit_at_any_loudness() -> None:
    whole = np.random.default_rng(0).integers(-32768, 32768, 50_000)
    for quieter in (1, 7, 1000):
        audio = torch.from_numpy((whole // quieter / 32768).astype(np.float32))
        assert torch.equal(stored(audio).piece(0, len(audio)), audio)


@pytest.mark.parametrize("peak", [1e-3, 0.3, 1.0, 5.0, 30_000.0])
def test_floats_are_stored_to_a_step_of_sixteen_bits_of_their_own_peak(peak: float) -> None:
    audio = torch.from_numpy(np.random.default_rng(0).uniform(-peak, peak, 50_000).astype(np.float32))
    audio[0] = peak
    error = float((stored(audio).piece(0, len(audio)) - audio).abs().max())
    assert error <= 2 * peak / 32768
