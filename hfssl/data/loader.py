"""Batches of a run, by position: the whole state of the data is the step.

Position p = step * global batch + i; DataOrder says which sample stands there; its key says the rest. A global batch is cut
into micro-batches, each of them shared out over the ranks, so that samples, crops and masks are the same for any number
of processes, workers and accumulation steps.
"""

import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from hfssl.objective import BadRowError, Batch, DataPipeline, Examples
from hfssl.randomness import DataOrder, combine, sample_keys, stream_id

_MOST_REPLACEMENTS = 100
Row = TypeVar("Row")


@dataclass(frozen=True)
class BatchLayout:
    """How a global batch is cut: micro-batch m of rank r holds positions ((m * world + r) * per_device_batch_size + i)."""

    global_batch_size: int
    per_device_batch_size: int
    rank: int
    world_size: int

    @property
    def num_micro_batches(self) -> int:
        return self.global_batch_size // (self.per_device_batch_size * self.world_size)

    def positions(self, step: int, micro_batch: int) -> Tensor:
        """Positions of this rank's micro-batch in the endless order of samples; int64."""
        start = step * self.global_batch_size
        start += (micro_batch * self.world_size + self.rank) * self.per_device_batch_size
        return torch.arange(start, start + self.per_device_batch_size)


class KeyedDataset:
    """Micro-batches by (epochs, sample ids): what worker processes read from."""

    def __init__(self, examples: Examples, pipeline: DataPipeline, seed: int) -> None:
        self.examples = examples
        self.pipeline = pipeline
        self.seed = seed
        self.order = DataOrder(len(examples), seed)

    def __getitems__(self, epochs_and_ids: tuple[Tensor, Tensor]) -> Batch:
        epochs_B, sample_ids_B = epochs_and_ids
        keys_B = sample_keys(self.seed, epochs_B, sample_ids_B)
        transformed, used, bad = [], [], []
        for epoch, sample_id, key in zip(epochs_B.tolist(), sample_ids_B.tolist(), keys_B, strict=True):
            example, used_id, bad_ids = self._good_example(epoch, sample_id)
            transformed.append(self.pipeline.transform(example, key))
            used.append(used_id)
            bad += bad_ids
        batch = self.pipeline.collate(transformed, keys_B)
        known = {"sample_ids": torch.tensor(used), "keys": keys_B}
        return batch | known | {"bad_ids": torch.tensor(bad, dtype=torch.int64)}

    def _good_example(self, epoch: int, sample_id: int) -> tuple[Any, int, list[int]]:
        """(example, its id, ids found bad on the way): a bad row gives way to keyed others until one is good."""
        bad: list[int] = []
        candidate = sample_id
        for attempt in range(_MOST_REPLACEMENTS):
            try:
                return self.examples[candidate], candidate, bad
            except BadRowError:
                bad.append(candidate)
                candidate = combine(self.seed, stream_id("replacement"), epoch, sample_id, attempt) % len(self.examples)
        raise BadRowError(f"{_MOST_REPLACEMENTS} rows in a row cannot be used, among them rows {sorted(set(bad))[:5]}")


class _Positions:
    """What each micro-batch of a run holds, from a step on."""

    def __init__(self, order: DataOrder, layout: BatchLayout, start_step: int, max_steps: int) -> None:
        self._order = order
        self._layout = layout
        self._steps = range(start_step, max_steps)

    def __len__(self) -> int:
        return len(self._steps) * self._layout.num_micro_batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for step in self._steps:
            for micro_batch in range(self._layout.num_micro_batches):
                yield self._order.at(self._layout.positions(step, micro_batch))


def micro_batches(
    rows: KeyedDataset, layout: BatchLayout, *, start_step: int, max_steps: int, num_workers: int, pin_memory: bool
) -> Iterator[Batch]:
    """This rank's micro-batches from `start_step` on, in order; no row of an earlier position is read."""
    loader: DataLoader[Batch] = DataLoader(
        rows,  # type: ignore[arg-type]
        batch_sampler=_Positions(rows.order, layout, start_step, max_steps),  # type: ignore[arg-type]
        num_workers=num_workers,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        worker_init_fn=_leave_signals_to_main,
        multiprocessing_context="fork" if num_workers and sys.platform == "linux" else None,  # children of this process
    )
    return iter(loader)


def _leave_signals_to_main(worker: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach the whole process group; the main process saves
        signal.signal(number, signal.SIG_IGN)


def _as_it_is(batch: Row) -> Row:
    return batch
