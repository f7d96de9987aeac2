"""What a run is watched on: rows of its data that it does not train on, and training rows that vote on their classes."""

import copy

import torch
from torch import Tensor

from hfssl.data.loader import KeyedRows
from hfssl.data.source import Source, fixed_rows
from hfssl.distributed import is_main_process, world_size
from hfssl.evaluation.knn import knn_accuracy
from hfssl.errors import ConfigError
from hfssl.training.monitor import Monitor, good_rows, watched_samples
from hfssl.training.labelled_validation import Choice, ScoredRows, Scores

_WATCHED_ROWS, _VOTING_ROWS, _SCORED_ROWS = 512, 1024, 5000


def open_monitor(source: Source, training_rows: KeyedRows) -> Monitor | None:
    """What the run is watched on; None where the data holds nothing out, or nothing that can be used."""
    if source.watched is None:
        return None
    part = source.watched.part(fixed_rows(len(source.watched), _WATCHED_ROWS))
    spec = copy.copy(training_rows.spec)  # the same processor; what prepare finds out about its source is its own
    try:
        rows, looked_at = KeyedRows(spec.prepare(part), spec, seed=0), spec.samples(part)
    except ConfigError as error:
        _say_unwatched(source.watched.split, str(error))
        return None
    good = _shared_out(good_rows(rows.examples, torch.arange(len(rows.examples))))
    samples = watched_samples(looked_at, spec, part.labels(), torch.arange(len(looked_at)))
    if min(len(good), len(samples.good)) < world_size():
        _say_unwatched(source.watched.split, "too few of its rows can be decoded")
        return None
    voters = None
    voting = source.part(fixed_rows(len(source), _VOTING_ROWS))
    labels = voting.labels()
    if labels is not None and samples.labels is not None and len(set(labels.tolist())) > 1:
        voting_spec = copy.copy(training_rows.spec)
        voters = watched_samples(voting_spec.samples(voting), voting_spec, labels, torch.arange(len(labels)))
    return Monitor(rows, good, samples, voters, knn_accuracy)


def open_scored_rows(source: Source, training_rows: KeyedRows, scores: Scores, choice: Choice) -> ScoredRows | None:
    """Labelled rows that choose the best step; None where the data holds nothing out."""
    if source.watched is None:
        return None
    part = source.watched.part(fixed_rows(len(source.watched), _SCORED_ROWS))
    spec = copy.copy(training_rows.spec)
    examples = spec.samples(part)
    good = _shared_out(good_rows(examples, torch.arange(len(examples))))
    if len(good) < world_size():
        _say_unwatched(source.watched.split, "too few of its rows can be read")
        return None
    return ScoredRows(examples, spec, good, scores, choice)


def _shared_out(good: Tensor) -> Tensor:
    """A multiple of 8 of them where there are as many, so that up to 8 ranks look at the same rows as one."""
    return good[: len(good) // 8 * 8] if len(good) >= 8 else good


def _say_unwatched(split: str, reason: str) -> None:
    if is_main_process():
        print(f"the run is not watched, for its split {split} can not be used: {reason}", flush=True)
