"""Answers in the order of the rows, while samples of like length go through the model together.

L labels. A window of a few batches is held at a time: it is sorted by length, cut into batches, and given back in its order.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from hfssl.evaluation.pixels import num_workers
from hfssl.fields import one_line
from hfssl.objective import BadRowError
from hfssl.predicting.classifier import Classifier, sample_shapes
from hfssl.predicting.inputs import Inputs, Row, printable
from hfssl.predicting.samples import Prepared, Samples, Texts

_BATCHES_A_WINDOW = 4
_BYTES_A_WINDOW = 256_000_000
_MANY = 1_000_000


class Sample(NamedTuple):
    """A row, prepared; `prepared` is None where `error` says why."""

    name: str | int
    prepared: Prepared | None
    error: str | None


class Answer(NamedTuple):
    """logits_L: float32, None where `error` says why."""

    name: str | int
    logits_L: Tensor | None
    error: str | None


class _Samples(IterableDataset[Sample]):
    """Rows prepared in order; each of several workers takes every so manieth, and the loader asks them in turn."""

    def __init__(self, inputs: Inputs, samples: Samples) -> None:
        self._inputs = inputs
        self._samples = samples

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for row in islice(self._inputs.rows, first, None, step):
            yield _sample(row, self._samples)


def answers(classifier: Classifier, inputs: Inputs, batch_size: int) -> Iterator[Answer]:
    """One for each row, in order. What can not be read or does not pass the model is an error of its row alone."""
    window: list[Sample] = []
    held = 0
    for sample in _loaded(classifier, inputs, batch_size):
        window.append(sample)
        held += sum(array.nbytes for array in (sample.prepared or {}).values())
        if len(window) == batch_size * _BATCHES_A_WINDOW or held > _BYTES_A_WINDOW:
            yield from _of_window(classifier, window, batch_size)
            window, held = [], 0
    yield from _of_window(classifier, window, batch_size)


def _loaded(classifier: Classifier, inputs: Inputs, batch_size: int) -> Iterator[Sample]:
    num_batches = (_MANY if inputs.total is None else inputs.total) // batch_size
    is_light = isinstance(classifier.samples, Texts)
    workers = 0 if is_light else num_workers(num_batches, classifier.model.device)
    loader: DataLoader[Sample] = DataLoader(
        _Samples(inputs, classifier.samples),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=max(2, 2 * batch_size // workers) if workers else None,
        collate_fn=_as_it_is,
    )
    yield from loader


def _as_it_is(sample: Any) -> Any:
    return sample


def _sample(row: Row, samples: Samples) -> Sample:
    if row.error is not None:
        return Sample(row.name, None, row.error)
    try:
        return Sample(row.name, samples.prepare(row.content), None)
    except BadRowError as error:
        reason = str(error)
    except Exception as error:  # processors make of strange sizes almost anything: value, index, zero division errors
        reason = f"can not be prepared: {one_line(error)}"
    path = row.content["path"] if isinstance(row.content, dict) else None
    return Sample(row.name, None, printable(reason.replace(path, str(row.name)) if path else reason))


def _of_window(classifier: Classifier, window: list[Sample], batch_size: int) -> Iterator[Answer]:
    given: list[Answer] = [Answer(sample.name, None, sample.error) for sample in window]
    for batch in _batches(classifier, window, batch_size):
        for index, logits_L, error in _of_batch(classifier, window, batch):
            given[index] = Answer(window[index].name, logits_L, error)
    yield from given


def _batches(classifier: Classifier, window: list[Sample], batch_size: int) -> Iterator[list[int]]:
    """Indices of samples of like length; of one shape where padding is heard."""
    prepared = {index: sample.prepared for index, sample in enumerate(window) if sample.prepared is not None}
    most_numbers = classifier.samples.most_numbers
    batch_size = min(batch_size, classifier.samples.most_together or batch_size)
    batch: list[int] = []
    for index in sorted(prepared, key=lambda index: sample_shapes(prepared[index])):
        size = next(iter(prepared[index].values())).size
        is_full = len(batch) == batch_size or (most_numbers is not None and size * (len(batch) + 1) > most_numbers)
        differs = bool(batch) and sample_shapes(prepared[index]) != sample_shapes(prepared[batch[0]])
        if batch and (is_full or (differs and not classifier.pads)):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _of_batch(
    classifier: Classifier, window: list[Sample], batch: list[int]
) -> Iterator[tuple[int, Tensor | None, str | None]]:
    """(index, logits, error); a batch that does not pass is halved until its culprit is alone."""
    samples = [sample for index in batch if (sample := window[index].prepared) is not None]
    try:
        logits_BL = classifier.logits(samples)
    except (RuntimeError, ValueError, IndexError) as error:  # too short for the convolutions, too much for the memory
        if len(batch) == 1:
            yield batch[0], None, f"does not pass the model: {one_line(error)}"
            return
        reached = len(batch) // 2
    else:
        for index, logits_L in zip(batch, logits_BL, strict=True):
            is_finite = bool(logits_L.isfinite().all())
            yield (index, logits_L, None) if is_finite else (index, None, "the model's answer is not finite")
        return
    yield from _of_batch(classifier, window, batch[:reached])
    yield from _of_batch(classifier, window, batch[reached:])
