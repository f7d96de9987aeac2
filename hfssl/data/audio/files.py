"""One recording, from whatever a file holds, to (T,) float32 mono at one sampling rate.

T samples.

libsndfile reads WAV, FLAC, Ogg and MP3 of any width, whole numbers brought to [-1, 1); channels are averaged; soxr resamples
in its high quality. Files are read in blocks, so that neither many channels nor a header that promises years of audio
takes memory. A file that ends before its header says is taken as far as it goes; one that the decoder gives up on is not.
"""

import io
from collections.abc import Iterator

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from hfssl.data.audio.segments import segment_of
from hfssl.data.source import StoredFile
from hfssl.objective import Array, BadRowError

LONGEST_HOURS = 12
RATES = (1_000, 1_000_000)  # Hz; what a header says beyond them is made up
QUALITY = "HQ"
_BLOCK = 1 << 18
_QUIETEST = 1e-4  # half of the range, of full scale: -80 dB
_LOUDEST = 1e6  # beyond the range of 16-bit numbers that somebody stored as floats


def decode(sample: StoredFile | None, sampling_rate: int) -> Tensor:
    """The recording, (T,) float32 at `sampling_rate` Hz.

    Args:
        sample: {"bytes", "path"} of an undecoded audio column; bytes come first.

    Raises:
        BadRowError: missing, unreadable, corrupt, empty, of an absurd rate or length, not finite, far beyond full scale, or
            silent.
    """
    try:
        with _opened(sample) as file:
            blocks = list(_resampled(file, sampling_rate, _frames(file, sample)))
    except BadRowError:
        raise
    except Exception as error:  # whatever libsndfile, its decoders and the file system make of hostile bytes
        raise BadRowError(f"cannot be read: {error}") from error
    audio = np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)
    if len(audio) == 0:
        raise BadRowError("holds no audio")
    if (float(audio.max()) - float(audio.min())) / 2 < _QUIETEST:
        raise BadRowError("is silent")
    return torch.from_numpy(audio)


def frames_of(sample: StoredFile | None, sampling_rate: int) -> int:
    """About how many samples `decode` gives, by the header only.

    Raises:
        BadRowError: missing, no header of a known format, empty, or of an absurd rate or length.
    """
    try:
        with _opened(sample) as file:
            frames = round(_frames(file, sample) * sampling_rate / file.samplerate)
    except BadRowError:
        raise
    except Exception as error:
        raise BadRowError(f"cannot be read: {error}") from error
    if frames == 0:
        raise BadRowError("holds no audio")
    return frames


def _opened(sample: StoredFile | None) -> soundfile.SoundFile:
    if sample is None or (sample["bytes"] is None and not sample["path"]):
        raise BadRowError("the row holds no recording")
    content, path = sample["bytes"], sample["path"]
    file = soundfile.SoundFile(segment_of(str(path)).path if content is None else io.BytesIO(content))
    rate, hours = file.samplerate, file.frames / file.samplerate / 3600
    if not RATES[0] <= rate <= RATES[1] or hours > LONGEST_HOURS:
        file.close()
        raise BadRowError(
            f"says that it has {rate} samples per second for {hours:.1f} hours; allowed are {RATES[0]} to {RATES[1]}, and "
            f"{LONGEST_HOURS} hours: cut longer ones up"
        )
    return file


def _frames(file: soundfile.SoundFile, sample: StoredFile | None) -> int:
    """How many frames belong to the sample, of which the file now gives the first: all, or those of its part."""
    path = "" if sample is None or sample["bytes"] is not None else str(sample["path"])
    _, start, end = segment_of(path)
    first = round(start * file.samplerate)
    last = file.frames if end is None else min(file.frames, round(end * file.samplerate))
    if start and first >= file.frames:
        raise BadRowError(f"begins at {start:g} s, after the end of the file ({file.frames / file.samplerate:g} s)")
    if first:
        file.seek(first)
    return last - first


def _resampled(file: soundfile.SoundFile, sampling_rate: int, num_frames: int) -> Iterator[Array]:
    """Blocks of mono audio, (n,) float32 each, of the next frames of a file."""
    if file.samplerate == sampling_rate:
        yield from _mono(file, num_frames)
        return
    stream = soxr.ResampleStream(file.samplerate, sampling_rate, 1, dtype="float32", quality=QUALITY)
    for block in _mono(file, num_frames):
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)


def _mono(file: soundfile.SoundFile, num_frames: int) -> Iterator[Array]:
    is_whole = num_frames >= file.frames  # its header may promise fewer frames than it holds
    left = num_frames
    while len(block := file.read(_BLOCK if is_whole else min(_BLOCK, left), dtype="float32", always_2d=True)):
        left -= len(block)
        largest = float(np.abs(block).max())  # not a number if one of them is none
        if not np.isfinite(largest):
            raise BadRowError("holds samples that are infinite or not a number")
        if largest > _LOUDEST:
            raise BadRowError(f"holds samples of {largest:.1e}, where audio lies in [-1, 1]")
        yield block.mean(axis=1, dtype=np.float32)
