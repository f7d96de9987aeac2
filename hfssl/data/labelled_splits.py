"""Labelled rows in three parts: to train on, to choose by, to score on. N rows."""

from dataclasses import replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from hfssl.config.run_config import RunConfig
from hfssl.data.labels import refuse_missing
from hfssl.data.source import Source
from hfssl.data.splits import split_rows
from hfssl.errors import require
from hfssl.objective import Array

VALIDATION_SHARE, TEST_SHARE = 0.1, 0.2
_SPLIT_SEED = 0  # whatever the run's: runs of all seeds are scored on the same rows


@runtime_checkable
class SplitSettings(Protocol):
    """The part of a task's config that says how rows are divided; splits_by_class: a row has one class."""

    @property
    def splits_by_class(self) -> bool: ...

    @property
    def group_column(self) -> str | None: ...

    @property
    def test_share(self) -> float: ...

    @property
    def label_share(self) -> float | None: ...


class Divided(NamedTuple):
    """source: the training rows, `validation` those that choose the step, `test` those of the final scores, or None.

    notes: in words, what was divided here and how.
    """

    source: Source
    notes: list[str]


def divided(source: Source, run: RunConfig) -> Divided:
    """The splits that the data brings, and where it brings none, parts of its training split: by class, whole groups together.

    A split that is there to be scored, labelled, is used for that only. So data with a single other split is validated on
    rows taken from those to train on.

    Args:
        source: opened with nothing held out.

    Raises:
        ConfigError: no labels, a split without labels, or rows that cannot be divided.
    """
    settings = run.method
    assert isinstance(settings, SplitSettings), f"{run.recipe} is no task"
    require(source.label_column is not None, "the data has no column of labels: name one with --label_column")
    tested, validation = source.test, source.validation
    require(
        tested is None or tested.label_column is not None,
        f"the split {tested and tested.split} has no column {source.label_column}: its answers could not be scored",
    )
    validation = None if validation is tested else validation
    notes = []
    if tested is None or validation is None:
        shares = _validation_share(run, validation), 0.0 if tested is not None else settings.test_share
        if any(shares):
            source, validation, tested, note = _split(source, validation, tested, shares, settings)
            notes.append(note)
    if settings.label_share is not None:
        chosen = few_labels(_classes(source, settings.splits_by_class), settings.label_share, run.loop.seed)
        notes.append(f"{len(chosen)} of {len(source)} training rows are used (label_share, seed {run.loop.seed})")
        source = source.part(chosen)
    return Divided(replace(source, validation=validation, test=tested), notes)


def _validation_share(run: RunConfig, validation: Source | None) -> float:
    given = run.data.validation_share
    require(
        given is None or validation is None,
        f"validation_share has no effect: the split {validation and validation.split} chooses the step",
    )
    if validation is not None:
        return 0.0
    return VALIDATION_SHARE if given is None else float(given)


def _split(
    source: Source,
    validation: Source | None,
    tested: Source | None,
    shares: tuple[float, float],
    settings: SplitSettings,
) -> tuple[Source, Source | None, Source | None, str]:
    groups = None if settings.group_column is None else source.column_values(settings.group_column)
    classes = _classes(source, settings.splits_by_class)
    validation_share, test_share = shares
    if not validation_share:  # only the test rows are missing
        split = split_rows(classes, groups, validation_share=test_share, seed=_SPLIT_SEED)
        sentence = split.sentence.replace("for validation", "for test")
        return source.part(split.train), validation, _named(source, split.validation, "test"), sentence
    split = split_rows(classes, groups, validation_share=validation_share, test_share=test_share, seed=_SPLIT_SEED)
    validation = _named(source, split.validation, "validation")
    if test_share:
        tested = _named(source, split.test, "test")
    return source.part(split.train), validation, tested, split.sentence


def _named(source: Source, rows: Array, name: str) -> Source:
    return replace(source.part(rows), split=f"{name} (part of {source.split})")


def _classes(source: Source, by_class: bool) -> Array:
    """(N,) the class of each row by name; all equal where labels are no classes."""
    if not by_class or isinstance(source.rows[0][source.label_column], float):
        return np.zeros(len(source), dtype=np.int64)
    refuse_missing(source, source.num_withheld())
    labels = source.labels()
    return np.array([source.label_name(label) for label in labels.tolist()])  # type: ignore[union-attr]


def few_labels(classes_N: Array, share: float, seed: int) -> Array:
    """Ascending numbers of about `share` of the rows of each class, at least one; those of a smaller share are among them."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(classes_N))
    chosen = []
    for name in np.unique(classes_N):
        of_class = order[classes_N[order] == name]
        chosen.append(of_class[: max(1, round(share * len(of_class)))])
    found: Array = np.sort(np.concatenate(chosen))
    return found
