"""Recordings to batches: windows cut, normalised one by one, and padded or cropped to one length.

B rows, N windows of them, T samples.

A row is a group of windows (see windows.py), so that N and T differ from batch to batch; `sample_ids` and `keys` are those of
the rows, `window_keys` of the windows. Models whose first layer normalises over time hear padding as silence and take no
attention mask: for these, windows are cropped to the shortest of the batch instead.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Processor

from hfssl.data.audio.cache import CachedAudio, DecodedAudio, Recording, Recordings, recordings_of
from hfssl.data.audio.config import LEAST_SECONDS, AudioDataConfig
from hfssl.data.audio.windows import WindowPlan, window_plan, window_start
from hfssl.data.reading import MOST_LEFT_OUT
from hfssl.data.source import Source
from hfssl.distributed import is_main_process
from hfssl.errors import require
from hfssl.objective import BadRowError, Batch, DataPipeline
from hfssl.randomness import epoch_keys, random_bits, sample_keys, uniform

_BAD_ALLOWED, _BAD_SHARE_ALLOWED = 10, 0.001
_LEAST_VARIANCE = 1e-7  # as in Wav2Vec2FeatureExtractor

Draw = Callable[[Tensor, Tensor], dict[str, Tensor]]


def nothing(window_keys_N: Tensor, lengths_N: Tensor) -> dict[str, Tensor]:
    """For methods that draw no parameters of their own."""
    return {}


class Window(NamedTuple):
    """Window `ordinal`, from 0, of a recording, whose row number is `number`; `length` samples."""

    recording: Recording
    number: int
    ordinal: int
    length: int


class WindowRow(NamedTuple):
    """Row `number` of a plan."""

    number: int
    windows: list[Window]


class WindowRows:
    """Rows of a plan, with their recordings at hand."""

    def __init__(self, recordings: Recordings, plan: WindowPlan) -> None:
        self.recordings = recordings
        self.plan = plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> WindowRow:
        """Raises BadRowError: one of the recordings cannot be used."""
        row = self.plan.row(index)
        opened = {number: self.recordings[number] for number in {number for number, _, _ in row}}
        return WindowRow(index, [Window(opened[number], number, ordinal, length) for number, ordinal, length in row])


class Utterances:
    """Each recording alone, cut off after `longest` samples: for features."""

    def __init__(self, recordings: Recordings, *, shortest: int, longest: int) -> None:
        self._recordings = recordings
        self._shortest = shortest
        self._longest = longest

    def __len__(self) -> int:
        return len(self._recordings)

    def __getitem__(self, index: int) -> Tensor:
        """(T,) float32. Raises BadRowError."""
        recording = self._recordings[index]
        if len(recording) < self._shortest:
            raise BadRowError(f"holds {len(recording)} samples, fewer than {self._shortest}")
        return recording.piece(0, self._longest)


class AudioPipeline(DataPipeline):
    """Batches of `input_values` (N, T) float32, `lengths` (N,) and `window_keys` (N,) int64.

    crops: all windows of a batch are cropped to its shortest; else they are padded with zeros, and `attention_mask` (N, T) int64
    says where. `draw` adds the method's own parameters, from window keys and lengths.
    """

    processor: Wav2Vec2FeatureExtractor | Wav2Vec2Processor

    def __init__(self, data: AudioDataConfig, *, crops: bool, draw: Draw = nothing) -> None:
        self.data = data
        self.crops = crops
        self._draw = draw
        self._data_path = "decoded at each access"
        self._is_cached = False
        self.processor = Wav2Vec2FeatureExtractor(
            feature_size=1,
            sampling_rate=data.sampling_rate,
            padding_value=0.0,
            do_normalize=data.normalise,
            return_attention_mask=not crops,
        )

    @property
    def data_path(self) -> str:
        return self._data_path

    @property
    def wants_workers(self) -> bool:
        """Not where windows are only read from the cache and normalised."""
        return not self._is_cached

    def prepare(self, source: Source) -> WindowRows:
        """Rows of the recordings that are long enough; how many are left out is printed.

        Raises:
            ConfigError: none is left, or more than max(10, 0.1 %) of them cannot be used.
        """
        recordings = self._recordings(source)
        long_enough = recordings.lengths >= self.data.shortest_window
        self.warnings = _report(source, recordings, int(long_enough.sum()), self.data.min_duration_seconds)
        plan = window_plan(
            np.where(long_enough, recordings.lengths, 0),
            longest=self.data.longest_window,
            capacity=self.data.row_capacity,
        )
        self._is_cached = isinstance(recordings, CachedAudio)
        self._data_path = f"{'cached' if self._is_cached else 'decoded at each access'}, in plan {plan.digest()}"
        return WindowRows(recordings, plan)

    def whole_examples(self, source: Source) -> Utterances:
        shortest = round(LEAST_SECONDS * self.data.sampling_rate)
        return Utterances(self._recordings(source), shortest=shortest, longest=self.data.longest_window)

    def _recordings(self, source: Source) -> CachedAudio | DecodedAudio:
        return recordings_of(source, sampling_rate=self.data.sampling_rate, cache=self.data.cache)

    def transform(self, example: WindowRow, key: Tensor) -> list[Tensor]:
        """The windows of a row, (T,) float32 each, cut by the key of its epoch and normalised."""
        epoch_key = epoch_keys(key[None], torch.tensor([example.number]))[0]
        cut = []
        for recording, number, ordinal, length in example.windows:
            start = window_start(epoch_key, number, ordinal, total=len(recording), length=length)
            cut.append(self.normalised(recording.piece(start, length)))
        return cut

    def normalised(self, audio: Tensor) -> Tensor:
        """(T,) float32 as `processor` gives it alone."""
        if not self.data.normalise:
            return audio
        return (audio - audio.mean()) / (audio.var(correction=0) + _LEAST_VARIANCE).sqrt()

    def collate(self, examples: Sequence[list[Tensor]], keys_B: Tensor) -> Batch:
        windows = [window for row in examples for window in row]
        keys = [random_bits(keys_B[index : index + 1], "window", len(row))[0] for index, row in enumerate(examples)]
        window_keys_N = torch.cat(keys)
        if self.crops:
            windows = cropped(windows, window_keys_N)
        return self._batch(windows, window_keys_N)

    def eval_transform(self, examples: Sequence[Tensor], first: int = 0) -> Batch:
        """(T,) float32 recordings, each by the processor as if it were alone, padded with zeros; `lengths` says how far.

        Without an attention mask a model hears that padding: features of such models are taken of equal lengths.
        """
        ids_B = torch.arange(first, first + len(examples))
        keys_B = sample_keys(0, torch.full_like(ids_B, -1), ids_B)
        rate = self.data.sampling_rate
        encoded = [self.processor(audio.numpy(), sampling_rate=rate)["input_values"][0] for audio in examples]
        batch = self._batch([torch.from_numpy(audio) for audio in encoded], random_bits(keys_B, "window", 1)[:, 0])
        return batch | {"sample_ids": ids_B, "keys": keys_B}

    def _batch(self, windows: Sequence[Tensor], window_keys_N: Tensor) -> Batch:
        lengths_N = torch.tensor([len(window) for window in windows])
        values_NT = torch.nn.utils.rnn.pad_sequence(list(windows), batch_first=True)
        batch = {"input_values": values_NT, "lengths": lengths_N, "window_keys": window_keys_N}
        if not self.crops:
            batch["attention_mask"] = (torch.arange(values_NT.shape[1]) < lengths_N[:, None]).long()
        return batch | self._draw(window_keys_N, lengths_N)


def cropped(windows: Sequence[Tensor], window_keys_N: Tensor) -> list[Tensor]:
    """Each window cut to the length of the shortest, where its key says."""
    shortest = min(len(window) for window in windows)
    shares = uniform(window_keys_N, "crop", 1)[:, 0].tolist()
    starts = [int(share * (len(window) - shortest + 1)) for share, window in zip(shares, windows, strict=True)]
    return [window[start : start + shortest] for start, window in zip(starts, windows, strict=True)]


def _report(source: Source, recordings: Recordings, num_kept: int, least_seconds: float) -> tuple[str, ...]:
    """Say what is left out of training; a warning where it is much. Raises ConfigError, see `prepare`."""
    total, bad = len(recordings), recordings.bad_rows
    name = f"the {total} recordings of {source.split} of {source.name}"
    named = "; ".join(f"row {row} {reason}" for row, reason in list(bad.items())[:3])
    allowed = max(_BAD_ALLOWED, int(_BAD_SHARE_ALLOWED * total))
    require(len(bad) < total, f"none of {name} can be used: {named}")
    require(
        len(bad) <= allowed,
        f"{len(bad)} of {name} cannot be used, more than {allowed}: mend or remove them; {named}",
    )
    require(
        num_kept > 0,
        f"all of {name} are shorter than {least_seconds} s: lower --min_duration_seconds",
    )
    too_short = total - num_kept - len(bad)
    reason = f"{too_short} are shorter than {least_seconds} s (--min_duration_seconds)"
    if num_kept < total and is_main_process():
        print(f"{total - num_kept} of {name} are left out: {reason}", flush=True)
        if bad:
            print(f"  {len(bad)} cannot be used: {named}", flush=True)
    share = 1 - num_kept / total
    if share <= MOST_LEFT_OUT:
        return ()
    return (f"{share:.1%} of the recordings are left out of training: {reason}, {len(bad)} cannot be used",)
