"""Answers in the order of the rows, while samples of like length go through the model together.

A few batches of rows are held at a time: their samples are sorted by length, cut into batches, and answered in their order.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from hfssl.errors import one_line
from hfssl.evaluation.pixels import num_workers
from hfssl.objective import BadRowError
from hfssl.predicting.answers import Arrays
from hfssl.predicting.inputs import Inputs, Row, printable
from hfssl.predicting.opened import Opened, sample_shapes
from hfssl.predicting.preprocessors import Prepared, Preprocessor
from hfssl.run_dir import Json

_BATCHES_A_WINDOW = 4
_BYTES_A_WINDOW = 256_000_000
_MANY = 1_000_000


class Sample(NamedTuple):
    """A row, prepared; `prepared` is None where `error` says why."""

    name: str | int
    prepared: Prepared | None
    error: str | None


class Answer(NamedTuple):
    """said: the values of the answer's columns, None where `error` says why."""

    name: str | int
    said: Json | None
    error: str | None


class _Piece(NamedTuple):
    """A sample of row `row` of those that are held."""

    row: int
    arrays: Arrays


class _Output(NamedTuple):
    """values: float32, None where `error` says why."""

    values: Tensor | None
    error: str | None = None


class _Samples(IterableDataset[Sample]):
    """Rows prepared in order; each of several workers takes every so manieth, and the loader asks them in turn."""

    def __init__(self, inputs: Inputs, samples: Preprocessor) -> None:
        self._inputs = inputs
        self._samples = samples

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for row in islice(self._inputs.rows, first, None, step):
            yield _sample(row, self._samples)


def answers(opened: Opened, inputs: Inputs, batch_size: int) -> Iterator[Answer]:
    """One for each row, in order. What cannot be read or does not pass the model is an error of its row only."""
    window: list[Sample] = []
    held = 0
    for sample in _loaded(opened, inputs, batch_size):
        window.append(sample)
        pieces = [] if sample.prepared is None else sample.prepared.pieces
        held += sum(array.nbytes for piece in pieces for array in piece.values())
        if len(window) == batch_size * _BATCHES_A_WINDOW or held > _BYTES_A_WINDOW:
            yield from _of_window(opened, window, batch_size)
            window, held = [], 0
    yield from _of_window(opened, window, batch_size)


def _loaded(opened: Opened, inputs: Inputs, batch_size: int) -> Iterator[Sample]:
    num_batches = (_MANY if inputs.total is None else inputs.total) // batch_size
    workers = 0 if opened.samples.is_light else num_workers(num_batches, opened.model.device)
    loader: DataLoader[Sample] = DataLoader(
        _Samples(inputs, opened.samples),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=max(2, 2 * batch_size // workers) if workers else None,
        collate_fn=_as_it_is,
    )
    yield from loader


def _as_it_is(sample: Any) -> Any:
    return sample


def _sample(row: Row, samples: Preprocessor) -> Sample:
    if row.error is not None:
        return Sample(row.name, None, row.error)
    try:
        return Sample(row.name, samples.prepare(row.content), None)
    except BadRowError as error:
        reason = str(error)
    except Exception as error:  # processors make of strange sizes almost anything: value, index, zero division errors
        reason = f"cannot be prepared: {one_line(error)}"
    path = row.content["path"] if isinstance(row.content, dict) else None
    return Sample(row.name, None, printable(reason.replace(path, str(row.name)) if path else reason))


def _of_window(opened: Opened, window: list[Sample], batch_size: int) -> Iterator[Answer]:
    pieces = [
        _Piece(row, arrays)
        for row, sample in enumerate(window)
        for arrays in (sample.prepared.pieces if sample.prepared is not None else [])
    ]
    found: list[_Output] = [_Output(None)] * len(pieces)
    for batch in _batches(opened, pieces, batch_size):
        for index, output in _of_batch(opened, pieces, batch):
            found[index] = output
    of_rows: list[list[_Output]] = [[] for _ in window]
    for piece, output in zip(pieces, found, strict=True):
        of_rows[piece.row].append(output)
    for sample, outputs in zip(window, of_rows, strict=True):
        yield _answer(opened, sample, outputs)


def _answer(opened: Opened, sample: Sample, outputs: list[_Output]) -> Answer:
    error = sample.error or next((output.error for output in outputs if output.error is not None), None)
    if error is not None:
        return Answer(sample.name, None, error)
    assert sample.prepared is not None
    values = [output.values for output in outputs if output.values is not None]
    return Answer(sample.name, opened.answers.of(values, sample.prepared.extra), None)


def _batches(opened: Opened, pieces: list[_Piece], batch_size: int) -> Iterator[list[int]]:
    """Indices of samples of like length; of one shape where padding is heard."""
    shapes = [sample_shapes(piece.arrays) for piece in pieces]
    most_numbers = opened.samples.most_numbers
    batch_size = min(batch_size, opened.samples.most_together or batch_size)
    batch: list[int] = []
    for index in sorted(range(len(pieces)), key=shapes.__getitem__):
        size = next(iter(pieces[index].arrays.values())).size
        is_full = len(batch) == batch_size or (most_numbers is not None and size * (len(batch) + 1) > most_numbers)
        differs = bool(batch) and shapes[index] != shapes[batch[0]]
        if batch and (is_full or (differs and not opened.pads)):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _of_batch(opened: Opened, pieces: list[_Piece], batch: list[int]) -> Iterator[tuple[int, _Output]]:
    """What the model says of each; a batch that does not pass is halved until its culprit is alone."""
    try:
        outputs = opened.outputs([pieces[index].arrays for index in batch])
    except (RuntimeError, ValueError, IndexError) as error:  # too short for the convolutions, too much for the memory
        if len(batch) == 1:
            yield batch[0], _Output(None, f"does not pass the model: {one_line(error)}")
            return
        reached = len(batch) // 2
    else:
        for index, values in zip(batch, outputs, strict=True):
            is_finite = bool(values.isfinite().all())
            yield index, (_Output(values) if is_finite else _Output(None, "the model's answer is not finite"))
        return
    yield from _of_batch(opened, pieces, batch[:reached])
    yield from _of_batch(opened, pieces, batch[reached:])
