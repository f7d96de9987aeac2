"""The validation rows of a run, which it does not train on, and the training rows that vote on their classes."""

import copy

import torch
from torch import Tensor

from hfssl.data.loader import KeyedDataset
from hfssl.data.source import Source, fixed_rows
from hfssl.distributed import is_main_process, world_size
from hfssl.errors import ConfigError
from hfssl.evaluation.knn import knn_accuracy
from hfssl.training.labelled_validation import BestStep, LabelledValidation, Scores
from hfssl.training.monitor import Monitor, good_rows, validation_rows_of

_VALIDATION_ROWS, _VOTING_ROWS, _SCORED_ROWS = 512, 1024, 5000


def open_monitor(source: Source, training_rows: KeyedDataset) -> Monitor | None:
    """The validation of the run; None where the data has no validation rows that can be used."""
    if source.validation is None:
        return None
    part = source.validation.part(fixed_rows(len(source.validation), _VALIDATION_ROWS))
    pipeline = copy.copy(
        training_rows.pipeline
    )  # the same processor; what prepare finds out about its source is its own
    try:
        rows, looked_at = KeyedDataset(pipeline.prepare(part), pipeline, seed=0), pipeline.whole_examples(part)
    except ConfigError as error:
        _say_no_validation(source.validation.split, str(error))
        return None
    good = _shared_out(good_rows(rows.examples, torch.arange(len(rows.examples))))
    samples = validation_rows_of(looked_at, pipeline, part.labels(), torch.arange(len(looked_at)))
    if min(len(good), len(samples.good)) < world_size():
        _say_no_validation(source.validation.split, "too few of its rows can be decoded")
        return None
    voters = None
    voting = source.part(fixed_rows(len(source), _VOTING_ROWS))
    labels = voting.labels()
    if labels is not None and samples.labels is not None and len(set(labels.tolist())) > 1:
        voting_spec = copy.copy(training_rows.pipeline)
        voters = validation_rows_of(voting_spec.whole_examples(voting), voting_spec, labels, torch.arange(len(labels)))
    return Monitor(rows, good, samples, voters, knn_accuracy)


def open_labelled_validation(
    source: Source, training_rows: KeyedDataset, scores: Scores, choice: BestStep
) -> LabelledValidation | None:
    """Labelled rows that choose the best step; None where the data holds nothing out."""
    if source.validation is None:
        return None
    part = source.validation.part(fixed_rows(len(source.validation), _SCORED_ROWS))
    pipeline = copy.copy(training_rows.pipeline)
    examples = pipeline.whole_examples(part)
    good = _shared_out(good_rows(examples, torch.arange(len(examples))))
    if len(good) < world_size():
        _say_no_validation(source.validation.split, "too few of its rows can be read")
        return None
    return LabelledValidation(examples, pipeline, good, scores, choice)


def _shared_out(good: Tensor) -> Tensor:
    """A multiple of 8 of them where there are as many, so that up to 8 ranks look at the same rows as one."""
    return good[: len(good) // 8 * 8] if len(good) >= 8 else good


def _say_no_validation(split: str, reason: str) -> None:
    if is_main_process():
        print(f"no validation: the split {split} cannot be used: {reason}", flush=True)
