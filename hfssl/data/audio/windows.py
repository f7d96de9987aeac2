"""Which windows of which recordings stand together in a row: decided once, by lengths only.

N recordings, W windows, R rows.

A recording that is longer than a window gives as many as it holds; where they start is drawn each epoch by one shift
that they share, so that they never overlap. Others are one window each, whole. Windows of like length fill a row up to its
capacity, so that hardly anything is padded or cropped away.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hfssl.objective import Array
from hfssl.randomness import combine, random_bits, splitmix64, stream_id, uniform

LEAST_SHARE = 0.94  # of a row's longest window, below which one goes to the next row even if there is room


@dataclass(frozen=True)
class WindowPlan:
    """Row r holds the windows row_offsets[r] to row_offsets[r + 1], the longest first; all int64.

    row_offsets: (R + 1,). recordings, ordinals, lengths: (W,) each; window w is number ordinals[w], from 0, of its recording.
    """

    row_offsets: Array
    recordings: Array
    ordinals: Array
    lengths: Array

    def __len__(self) -> int:
        return len(self.row_offsets) - 1

    def row(self, index: int) -> list[tuple[int, int, int]]:
        """(recording, ordinal, length) of each window of one row."""
        windows = slice(self.row_offsets[index], self.row_offsets[index + 1])
        columns = (self.recordings[windows], self.ordinals[windows], self.lengths[windows])
        return list(zip(*(column.tolist() for column in columns), strict=True))

    @property
    def padding_share(self) -> float:
        """Share of the samples that are padding where each row is padded to its longest window."""
        padded = int((self.lengths[self.row_offsets[:-1]] * np.diff(self.row_offsets)).sum())
        return 1.0 - int(self.lengths.sum()) / padded if padded else 0.0

    def digest(self) -> str:
        """A short hash of what stands where."""
        content = hashlib.sha256()
        for array in (self.row_offsets, self.recordings, self.ordinals, self.lengths):
            content.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
        return content.hexdigest()[:8]


def window_plan(lengths_N: Array, *, longest: int, capacity: int, seed: int = 0) -> WindowPlan:
    """The rows of all recordings, the same in every process.

    Args:
        lengths_N: samples of each; those of length 0 are left out.
        longest: samples of a window at the most.
        capacity: samples of a row at the most, where all windows count as long as its longest; at least `longest`.
        seed: of the order of windows of one length.
    """
    counts_N = np.where(lengths_N > 0, np.maximum(1, lengths_N // longest), 0)
    recordings_W = np.repeat(np.arange(len(lengths_N)), counts_N)
    ordinals_W = np.arange(len(recordings_W)) - np.repeat(np.cumsum(counts_N) - counts_N, counts_N)
    lengths_W = np.minimum(lengths_N[recordings_W], longest)
    ties_W = random_bits(torch.tensor([combine(seed, stream_id("windows"))]), "ties", len(lengths_W))[0].numpy()
    order_W = np.lexsort((ties_W, -lengths_W))
    columns = (column[order_W].astype(np.int64) for column in (recordings_W, ordinals_W, lengths_W))
    return WindowPlan(_row_offsets(lengths_W[order_W], capacity), *columns)


def _row_offsets(descending_W: Array, capacity: int) -> Array:
    """Where rows begin: each takes as many windows as fit, none shorter than LEAST_SHARE of its first."""
    offsets = [0]
    while (start := offsets[-1]) < len(descending_W):
        first = int(descending_W[start])
        like_it = np.searchsorted(-descending_W, -LEAST_SHARE * first, side="right")
        offsets.append(min(start + capacity // first, int(like_it)))
    return np.array(offsets, dtype=np.int64)


def window_start(epoch_key: Tensor, recording: int, ordinal: int, *, total: int, length: int) -> int:
    """The first sample of window `ordinal` of a recording of `total` samples.

    The windows of a recording follow each other; all of them are shifted by a part of what they leave over, drawn from
    `epoch_key` (0-d int64) and the recording's number.
    """
    if total <= length:
        return 0
    left_over = total - total // length * length
    key = splitmix64(epoch_key ^ recording)
    shift = int(float(uniform(key[None], "shift", 1)) * (left_over + 1))
    return min(shift + ordinal * length, total - length)
