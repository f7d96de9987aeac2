"""Recordings of a split with their labels, and the floor that needs no model: statistics of the log-mel spectrogram."""

import copy
import hashlib

import numpy as np
import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from hfssl.data.audio.cache import recordings_of
from hfssl.data.audio.config import LEAST_SECONDS
from hfssl.data.audio.pipeline import Utterances
from hfssl.data.source import Source, fixed_rows
from hfssl.objective import Array, BadRowError

FLOOR = "log-mel"
LONGEST_SECONDS = 30.0
NUM_MELS = 40
HOP_SECONDS = 0.010
_WINDOW_SECONDS = 0.025
_QUIETEST_POWER = 1e-10


class Clips:
    """At most `most` good rows of a source, the first of a fixed permutation, each cut off after LONGEST_SECONDS.

    rows: their numbers in the source; labels: as they are stored, or None; lengths: (N,) int64 samples; hashes: (N,) uint64,
    equal for the same samples; num_bad: rows left out, those under LEAST_SECONDS among them.
    """

    def __init__(self, source: Source, sampling_rate: int, most: int | None = None) -> None:
        self.sampling_rate = sampling_rate
        self._audio = Utterances(
            recordings_of(source, sampling_rate=sampling_rate, cache="auto"),
            shortest=round(LEAST_SECONDS * sampling_rate),
            longest=round(LONGEST_SECONDS * sampling_rate),
        )
        self.rows: list[int] = []
        self.num_bad = 0
        lengths, hashes = [], []
        for row in fixed_rows(len(source), most or len(source)).tolist():
            try:
                audio = self._audio[row]
            except BadRowError:
                self.num_bad += 1
                continue
            self.rows.append(row)
            lengths.append(len(audio))
            hashes.append(np.frombuffer(hashlib.blake2b(audio.numpy().tobytes(), digest_size=8).digest(), np.uint64)[0])
        all_labels = source.labels()
        self.labels: Array | None = None if all_labels is None else all_labels[self.rows]
        self.lengths: Array = np.array(lengths, dtype=np.int64)
        self.hashes: Array = np.array(hashes, dtype=np.uint64)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        """(T,) float32."""
        return self._audio[self.rows[index]]

    def part(self, chosen: Array) -> "Clips":
        """The recordings where the (N,) bool mask is true."""
        part = copy.copy(self)
        part.rows = [row for row, taken in zip(self.rows, chosen, strict=True) if taken]
        part.labels = None if self.labels is None else self.labels[chosen]
        part.lengths, part.hashes = self.lengths[chosen], self.hashes[chosen]
        return part


def log_mel(audio: Tensor, sampling_rate: int) -> Tensor:
    """(T,) samples -> (frames, NUM_MELS) natural logarithms of mel powers, one every 10 ms."""
    window = min(round(_WINDOW_SECONDS * sampling_rate), len(audio))
    spectrum = torch.stft(
        audio,
        n_fft=window,
        hop_length=round(HOP_SECONDS * sampling_rate),
        window=torch.hann_window(window),
        center=False,
        return_complex=True,
    )
    filters = mel_filter_bank(
        window // 2 + 1, NUM_MELS, 0.0, sampling_rate / 2, sampling_rate, norm="slaney", mel_scale="slaney"
    )
    power = torch.from_numpy(filters).to(torch.float32).T @ spectrum.abs().square()
    return power.clamp(min=_QUIETEST_POWER).log().T


def log_mel_statistics(clips: Clips) -> Array:
    """(N, 2 * NUM_MELS) float32: mean and standard deviation of each band over time."""
    rows = []
    for index in range(len(clips)):
        frames = log_mel(clips[index], clips.sampling_rate)
        rows.append(torch.cat([frames.mean(dim=0), frames.std(dim=0, correction=0)]))
    statistics: Array = torch.stack(rows).numpy()
    return statistics
