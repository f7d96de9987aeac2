"""Labelled recordings as batches, one a row: whole, or a window of those that are longer.

B recordings, T samples.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hfssl.data.audio.cache import CachedAudio, Recording, Recordings
from hfssl.data.audio.config import LEAST_SECONDS, AudioDataConfig
from hfssl.data.audio.pipeline import AudioPipeline, Draw, nothing
from hfssl.data.labels import Labelled, class_counts, class_numbers
from hfssl.data.source import Source
from hfssl.distributed import is_main_process
from hfssl.errors import require
from hfssl.objective import BadRowError, Batch, Examples
from hfssl.randomness import uniform


class LongEnough:
    """Recordings of LEAST_SECONDS and more; what is shorter has hardly a frame. lengths: (N,) int64, of all of them."""

    def __init__(self, recordings: Recordings, sampling_rate: int) -> None:
        self._recordings = recordings
        self.lengths = recordings.lengths
        self._least = round(LEAST_SECONDS * sampling_rate)

    def __len__(self) -> int:
        return len(self._recordings)

    def __getitem__(self, index: int) -> Recording:
        """Raises BadRowError."""
        recording = self._recordings[index]
        if len(recording) < self._least:
            raise BadRowError(f"is shorter than {LEAST_SECONDS:g} s")
        return recording


class WholeRecordings(AudioPipeline):
    """Batches of `input_values` (B, T) float32, padded with zeros, `lengths` (B,) int64, what `targets` makes of the labels,
    and where the model is told of padding `attention_mask` (B, T) int64. Examples are (recording, label).

    Of a recording that is longer than `--max_duration_seconds` training hears a window that its key places. Training batches also
    hold what `draw` gives, from keys and lengths.
    """

    def __init__(self, data: AudioDataConfig, *, attention_mask: bool, draw: Draw = nothing) -> None:
        super().__init__(data, crops=not attention_mask)
        self._draw_while_training = draw

    @abstractmethod
    def targets(self, labels: Sequence[Any]) -> Batch:
        """The labels of a batch as tensors."""

    def opened(self, source: Source, longer_ones: str | None = None) -> LongEnough:
        """The recordings of these rows; how many cannot be used is printed, and what becomes of those longer than a window."""
        recordings = self._recordings(source)
        self._is_cached = isinstance(recordings, CachedAudio)
        self._data_path = "cached" if self._is_cached else "decoded at each access"
        _report(source, recordings, self.data, longer_ones)
        return LongEnough(recordings, self.data.sampling_rate)

    @abstractmethod
    def prepare(self, source: Source) -> Any:
        """Examples of these rows."""

    def whole_examples(self, source: Source) -> Any:
        return self.prepare(source)

    def transform(self, example: tuple[Recording, Any], key: Tensor) -> tuple[Tensor, Any]:  # type: ignore[override]
        recording, label = example
        spare = max(0, len(recording) - self.data.longest_window)
        start = int(uniform(key[None], "window start", 1) * (spare + 1))
        return self.normalised(recording.piece(start, self.data.longest_window)), label

    def collate(self, examples: Sequence[tuple[Tensor, Any]], keys_B: Tensor) -> Batch:  # type: ignore[override]
        windows, labels = zip(*examples, strict=True)
        batch = self._batch(windows, keys_B)
        del batch["window_keys"]  # a row is one window, so its key is the row's
        return batch | self._draw_while_training(keys_B, batch["lengths"]) | self.targets(labels)

    def eval_transform(self, examples: Sequence[tuple[Recording, Any]], first: int = 0) -> Batch:  # type: ignore[override]
        recordings, labels = zip(*examples, strict=True)
        batch = super().eval_transform([self.judged(one) for one in recordings], first)
        del batch["window_keys"]
        return batch | self.targets(labels)

    def judged(self, recording: Recording) -> Tensor:
        """What is heard of a recording without chance, (T,) float32: its first window."""
        return recording.piece(0, self.data.longest_window)

    def shown(self, example: tuple[Recording, Any]) -> str:
        """A sample for people."""
        return f"a recording of {len(example[0]) / self.data.sampling_rate:.2f} s"


def _report(source: Source, recordings: Recordings, data: AudioDataConfig, longer_ones: str | None) -> None:
    """Say what is not heard, or not whole. Raises ConfigError where nothing is."""
    total, bad = len(recordings), recordings.bad_rows
    named = "; ".join(f"row {row} {reason}" for row, reason in list(bad.items())[:3])
    require(len(bad) < total, f"none of the {total} recordings of {source.split} of {source.name} can be used: {named}")
    if not is_main_process():
        return
    if bad:
        print(f"{len(bad)} of {total} recordings of {source.split} cannot be used: {named}", flush=True)
    num_longer = int((recordings.lengths > data.longest_window).sum())
    if num_longer and longer_ones is not None:
        which = f"{num_longer} of {total} recordings of {source.split} are longer than {data.max_duration_seconds:g} s"
        print(f"{which}: {longer_ones}", flush=True)


class LabelledRecordings(WholeRecordings):
    """Recordings with `labels` (B,) int64, numbers of classes.

    counts_C: rows of each class, known after `prepare`.
    """

    def __init__(
        self, data: AudioDataConfig, class_names: Sequence[str], *, attention_mask: bool, draw: Draw = nothing
    ) -> None:
        super().__init__(data, attention_mask=attention_mask, draw=draw)
        self.class_names = list(class_names)
        self.counts_C = np.zeros(len(class_names), dtype=np.int64)

    def prepare(self, source: Source) -> Labelled:  # type: ignore[override]
        numbers_N = class_numbers(source, self.class_names)
        self.counts_C = class_counts(numbers_N, len(self.class_names))
        cut = "training hears a window that moves each epoch, scores are of the first one"
        examples: Examples = self.opened(source, cut)
        return Labelled(examples, numbers_N)

    def targets(self, labels: Sequence[int]) -> Batch:
        return {"labels": torch.tensor(labels)}
