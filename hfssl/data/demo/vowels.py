"""demo:vowels: synthesised voices that say one vowel again and again, others in between: 600 clips of 40 voices to train on,
200 of 20 others to test.

A source and a filter: Rosenberg's glottal pulses (1971, "Effect of glottal pulse shape on the quality of natural vowels",
J. Acoust. Soc. Am. 49) with breath in them, through a cascade of four resonators (Klatt 1980, "Software for a
cascade/parallel formant synthesizer", J. Acoust. Soc. Am. 67, equations 1 and 2). Pitch and three formants of men, women and
children are the means of Peterson & Barney (1952, "Control methods used in a study of the vowels", J. Acoust. Soc. Am. 24,
table II); each voice has its own tract length, pitch, breath and accent. Within a clip the vowel that is its label takes about
60 % of the time, formants glide from vowel to vowel, the pitch falls and trembles; noise and loudness differ from clip to clip.
16 kHz, 16 bits, 0.8 to 2 s.
"""

import functools
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet
import soundfile
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Value
from scipy.signal import lfilter, sosfilt

from hfssl.data.cache_folder import cache_root, is_sealed, made_once, seal
from hfssl.objective import Array

FORMAT = 2  # of the voices: a new number leaves old caches alone
SAMPLING_RATE = 16_000
VOWELS = ("iy", "ih", "eh", "ae", "aa", "ao", "uw", "er")  # heed, hid, head, had, hod, hawed, who'd, heard
_SPEAKERS = {  # pitch, F1, F2, F3 in Hz, in the order of VOWELS
    "man": [
        (136, 270, 2290, 3010),
        (135, 390, 1990, 2550),
        (130, 530, 1840, 2480),
        (127, 660, 1720, 2410),
        (124, 730, 1090, 2440),
        (129, 570, 840, 2410),
        (141, 300, 870, 2240),
        (133, 490, 1350, 1690),
    ],
    "woman": [
        (235, 310, 2790, 3310),
        (232, 430, 2480, 3070),
        (223, 610, 2330, 2990),
        (210, 860, 2050, 2850),
        (212, 850, 1220, 2810),
        (216, 590, 920, 2710),
        (231, 370, 950, 2670),
        (218, 500, 1640, 1960),
    ],
    "child": [
        (272, 370, 3200, 3730),
        (269, 530, 2730, 3600),
        (260, 690, 2610, 3570),
        (251, 1010, 2320, 3320),
        (256, 1030, 1370, 3170),
        (263, 680, 1060, 3180),
        (274, 430, 1170, 3260),
        (261, 560, 1820, 2160),
    ],
}
_FOURTH = {"man": 3500, "woman": 4000, "child": 4600}
_BANDWIDTHS = np.array([60.0, 90.0, 130.0, 220.0])  # Hz
_CLIPS = {"train": (40, 15), "test": (20, 10)}  # voices, clips of each
_BLOCK = 400  # samples for which the resonators stand still
_OPEN, _CLOSING = 0.45, 0.2  # shares of a period in which the glottis opens and closes
_FEATURES = Features(
    {
        "audio": {"bytes": Value("binary"), "path": Value("string")},  # datasets.Audio would want torchcodec to take it
        "label": ClassLabel(names=list(VOWELS)),
        "voice": Value("string"),
    }
)

Generator = np.random.Generator


class _Voice(NamedTuple):
    """kind of speaker; factors on pitch and on each formant (4,); breath: its share of the pulses' amplitude."""

    kind: str
    pitch: float
    formants: Array
    breath: float


@functools.cache
def vowels() -> DatasetDict:
    """Columns: audio, label (the vowel) and voice; about 18 minutes in all. Made once on a machine, in a few seconds, and the
    same on all of them but for the last bit of some samples."""
    folder = made_once(cache_root("demo") / f"vowels-v{FORMAT}", is_sealed, _write)
    splits = {}
    for split in _CLIPS:
        columns = pyarrow.parquet.read_table(folder / f"{split}.parquet").to_pydict()
        digest = hashlib.sha256(b"".join(columns["audio"])).hexdigest()[:16]
        columns["audio"] = [{"bytes": content, "path": None} for content in columns["audio"]]
        splits[split] = Dataset.from_dict(columns, features=_FEATURES).cast_column("audio", Audio(decode=False))
        splits[split]._fingerprint = f"demo-vowels-{split}-{digest}"  # the same in every process: it names the cache
    return DatasetDict(splits)


def _write(folder: Path) -> None:
    for split in _CLIPS:
        columns = zip(*_clips(split), strict=True)
        table = pyarrow.table(dict(zip(_FEATURES, map(list, columns), strict=True)))
        pyarrow.parquet.write_table(table, folder / f"{split}.parquet")
    seal(folder)


def _clips(split: str) -> Iterator[tuple[bytes, int, str]]:
    """(WAV file, label, voice), each voice with all vowels as evenly as it can."""
    num_voices, num_clips = _CLIPS[split]
    generator = np.random.default_rng([1952, list(_CLIPS).index(split)])
    kinds = list(_SPEAKERS)
    for number in range(num_voices):
        kind = kinds[number % len(kinds)]
        voice = _Voice(
            kind,
            pitch=generator.lognormal(0.0, 0.12),
            formants=generator.lognormal(0.0, 0.06) * generator.lognormal(0.0, 0.03, 4),
            breath=generator.uniform(0.02, 0.3),
        )
        labels = np.concatenate([generator.permutation(len(VOWELS)) for _ in range(-(-num_clips // len(VOWELS)))])
        for label in labels[:num_clips].tolist():
            buffer = io.BytesIO()
            soundfile.write(buffer, spoken(voice, label, generator), SAMPLING_RATE, format="WAV", subtype="PCM_16")
            yield buffer.getvalue(), label, f"{split} {kind} {number:02}"


def spoken(voice: _Voice, label: int, generator: Generator) -> Array:
    """One clip, (T,) float64 in (-1, 1)."""
    seconds = generator.uniform(0.8, 2.0)
    num_blocks = round(seconds * SAMPLING_RATE / _BLOCK)
    pitch = _SPEAKERS[voice.kind][label][0]
    pulses, flow = _glottis(pitch * voice.pitch, num_blocks * _BLOCK, generator)
    breath = voice.breath * generator.standard_normal(len(flow)) * (0.3 + flow)
    centres = _formants(voice, label, num_blocks, generator) * voice.formants * generator.lognormal(0.0, 0.03, 4)
    heard = _resonated(pulses / pulses.std() + breath, centres) * _envelope(len(flow), generator)
    noise = _coloured(generator.standard_normal(len(heard)), generator)
    noisy = _coloured(heard, generator) + noise * 10 ** (-generator.uniform(5.0, 30.0) / 20)
    return noisy / np.abs(noisy).max() * generator.uniform(0.1, 0.9)


def _formants(voice: _Voice, label: int, num_blocks: int, generator: Generator) -> Array:
    """The label's vowel in turn with others, gliding from one to the next; (num_blocks, 4) Hz."""
    said: list[int] = []
    while len(said) < num_blocks:
        said += [label] * int(generator.integers(8, 15))  # blocks of 25 ms
        said += [int(generator.integers(len(VOWELS)))] * int(generator.integers(5, 11))
    table = np.array([[*formants, _FOURTH[voice.kind]] for _, *formants in _SPEAKERS[voice.kind]], dtype=np.float64)
    steps = np.pad(table[said[:num_blocks]], ((1, 1), (0, 0)), mode="edge")
    return (steps[:-2] + steps[1:-1] + steps[2:]) / 3


def _glottis(pitch: float, length: int, generator: Generator) -> tuple[Array, Array]:
    """(derivative of the air flow, air flow in [0, 1]), both (length,)."""
    time = np.linspace(0.0, 1.0, length)
    falling = generator.uniform(-0.06, 0.03) * (time - 0.5)
    bent = generator.normal(0.0, 0.01) * np.sin(np.pi * time)
    trembling = 0.01 * np.sin(2 * np.pi * (generator.uniform(4.0, 6.0) * time * length / SAMPLING_RATE))
    jitter = np.repeat(generator.normal(0.0, 0.01, length // _BLOCK + 1), _BLOCK)[:length]
    contour = pitch * generator.lognormal(0.0, 0.05) * (1.0 + falling + bent + trembling + jitter)
    phase = np.cumsum(np.clip(contour, 60.0, 500.0) / SAMPLING_RATE) % 1.0
    opening = 0.5 * (1.0 - np.cos(np.pi * phase / _OPEN))
    closing = np.cos(0.5 * np.pi * (phase - _OPEN) / _CLOSING)
    flow = np.where(phase < _OPEN, opening, np.where(phase < _OPEN + _CLOSING, closing, 0.0))
    return np.diff(flow, prepend=flow[:1]), flow


def _resonated(source: Array, formants: Array) -> Array:
    """`source` (T,) through resonators at `formants` (blocks, 4) Hz, which change from block to block."""
    radius = np.exp(-np.pi * _BANDWIDTHS / SAMPLING_RATE)
    c = np.broadcast_to(-(radius**2), formants.shape)
    b = 2.0 * radius * np.cos(2 * np.pi * formants / SAMPLING_RATE)
    zero = np.zeros_like(b)
    sections = np.stack([1.0 - b - c, zero, zero, zero + 1.0, -b, -c], axis=-1)
    state = np.zeros((formants.shape[1], 2))
    blocks = []
    for block, section in zip(source.reshape(-1, _BLOCK), sections, strict=True):
        out, state = sosfilt(section, block, zi=state)
        blocks.append(out)
    return np.concatenate(blocks)


def _envelope(length: int, generator: Generator) -> Array:
    """Rises within 5 to 20 ms and falls within 10 to 40 ms, after a moment of silence and before another."""
    rise, fall = (generator.uniform(*seconds) * SAMPLING_RATE for seconds in ((0.005, 0.02), (0.01, 0.04)))
    before, after = generator.uniform(0.0, 0.02, 2) * SAMPLING_RATE
    place = np.arange(length)
    return np.clip(np.minimum((place - before) / rise, (length - after - place) / fall), 0.0, 1.0)


def _coloured(sound: Array, generator: Generator) -> Array:
    """`sound` as a microphone or a room makes it darker or brighter, of unit variance."""
    coloured = lfilter([1.0, -generator.uniform(-0.7, 0.7)], [1.0, -generator.uniform(-0.2, 0.9)], sound)
    return coloured / coloured.std()
