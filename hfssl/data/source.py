"""Rows: one data set from wherever it lies, with the column that holds the samples found by its type."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch
from datasets import Dataset, DatasetDict, load_dataset, load_from_disk
from datasets.exceptions import DatasetsError

from hfssl.config.sections import DataConfig
from hfssl.data.audio.config import AUDIO_SUFFIXES, AudioDataConfig
from hfssl.data.audio.folder import load_with_audio
from hfssl.data.columns import FindColumn, choose_column, choose_label, class_columns, is_text, undecoded_files
from hfssl.data.demo import sets as demo
from hfssl.data.images.config import IMAGE_SUFFIXES, ImageDataConfig
from hfssl.data.texts.config import TextDataConfig, reads_text_files
from hfssl.data.texts.documents import documents
from hfssl.data.texts.files import open_text_files
from hfssl.errors import ConfigError, require
from hfssl.randomness import DataOrder

_TABLE_BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv", ".arrow": "arrow"}
_TEST_SPLIT = "test"
_OTHER_SPLITS = (_TEST_SPLIT, "validation", "val", "valid")
FEWEST_ROWS, LEAST_HELD_OUT, MOST_HELD_OUT, SHARE_HELD_OUT = 64, 8, 1000, 0.05


@dataclass(frozen=True)
class Source:
    """Rows of one split.

    rows: samples, undecoded, and labels; all_rows: the same rows with every column.
    column: the column of the samples; label_column: that of the labels, or None.
    test: rows of the same data set that are opened once, for scores, or None; watched: rows to look at while training,
    or None. Neither is trained on; they are the same object where the data has nothing else to score.
    passed_over: splits that others are scored instead of: how many of their rows have no label, and how many there are.
    """

    name: str
    split: str
    rows: Dataset
    column: str
    label_column: str | None
    test: "Source | None"
    all_rows: Dataset
    validation: "Source | None" = None
    passed_over: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, index: int) -> Any:
        """The raw value of row `index`: bytes and path of a file, an array, a text."""
        return self.rows[index][self.column]

    def labels(self) -> "np.ndarray[Any, Any] | None":
        """The label of each row as it is stored, a number or a text, (rows,).

        None without a label column, and where labels are withheld: missing, or -1 as in the test splits of competitions.
        """
        if self.label_column is None:
            return None
        values = self.rows[self.label_column][:]
        require(
            not any(isinstance(value, (list, dict)) for value in values[:1]),
            f"the label column {self.label_column} must hold one class a row, not several: choose one with --label_column",
        )
        return None if None in values or -1 in values else np.asarray(values)

    def num_withheld(self) -> int:
        """Rows whose label is missing, or -1."""
        values = [] if self.label_column is None else self.rows[self.label_column][:]
        return sum(value is None or value == -1 for value in values)

    def label_name(self, label: Any) -> str:
        """A stored label in words, where the data has words for its numbers."""
        feature = None if self.label_column is None else self.rows.features[self.label_column]
        return feature.int2str(int(label)) if isinstance(feature, datasets.ClassLabel) and label >= 0 else str(label)

    def column_values(self, name: str) -> "np.ndarray[Any, Any]":
        """Another column, (rows,). Raises ConfigError where there is none of that name."""
        require(
            name in self.all_rows.features, f"{name} is not a column; there are: {', '.join(self.all_rows.features)}"
        )
        return np.asarray(self.all_rows.with_format("numpy")[name][:])

    def part(self, rows: "np.ndarray[Any, Any]") -> "Source":
        """The rows of these numbers alone, in this order; without other rows beside them."""
        chosen, all_chosen = self.rows.select(rows), self.all_rows.select(rows)
        return replace(self, rows=chosen, all_rows=all_chosen, test=None, validation=None)

    def fingerprint(self) -> str:
        """A short name of the rows' content, the same in every process."""
        return hashlib.sha256(f"{self.rows._fingerprint} {self.column}".encode()).hexdigest()[:16]


class Labelling(NamedTuple):
    """How labels are found.

    find: columns that may hold them; num_missing: rows of a labelled split that have none.
    takes_any: samples are checked by who opens them, and empty texts stay.
    """

    find: FindColumn = class_columns
    num_missing: Callable[["Source"], int] = lambda source: source.num_withheld()
    takes_any: bool = False


OF_CLASSES = Labelling()


def open_source(
    config: DataConfig,
    *,
    find: FindColumn,
    column: str | None,
    label_column: str | None,
    flag: str,
    labelling: Labelling = OF_CLASSES,
) -> Source:
    """The source that `config` names.

    Args:
        find: names of the columns that can hold this modality's samples.
        column, label_column: what the user chose, or None.
        flag: the flag that chooses the column, for error messages.
        labelling: what labels are, unless classes.

    Raises:
        ConfigError: nothing there, no such split, no or several fitting columns.
    """
    assert config.dataset is not None
    splits = _open_splits(config)
    if config.split not in splits:
        raise ConfigError(f"--split {config.split} is not in {config.dataset}; it has: {', '.join(splits)}")

    def of_split(split: str) -> Source:
        rows = splits[split]
        require(len(rows) > 0, f"the split {split} of {config.dataset} has no rows")
        chosen = choose_column(rows, find, column, flag)
        label = choose_label(rows, label_column, split, labelling.find, is_needed=split == config.split)
        require(chosen != label, f"--{flag} {chosen} is the column of the labels: choose another")
        kept = [chosen] if label is None else [chosen, label]
        if labelling.takes_any:
            samples = rows.select_columns(kept)
        elif isinstance(config, TextDataConfig):
            kind = type(rows.features[chosen]).__name__
            require(is_text(rows.features[chosen]), f"--{flag} {chosen} holds no texts but {kind}: choose another")
            rows = documents(rows, chosen, f"{split} of {config.dataset}")
            samples = rows.select_columns(kept)
        else:
            undecoded = datasets.Audio if isinstance(config, AudioDataConfig) else datasets.Image
            folder = Path(str(config.dataset)).expanduser().parent
            samples = undecoded_files(rows.select_columns(kept), chosen, undecoded(decode=False), folder)
        return Source(str(config.dataset), split, samples, chosen, label, None, rows)

    source = of_split(config.split)
    others = [of_split(name) for name in _OTHER_SPLITS if name in splits and name != config.split]
    for other in others:
        _check_classes(source, other)
    source = _with_scored(source, others, labelling)
    validation = next((other for other in others if other.split != _TEST_SPLIT), None)
    if validation is None:
        return with_rows_held_out(source, config.validation_share)
    require(
        not config.validation_share,
        f"validation_share has no effect: {config.dataset} has the split {validation.split}, which is watched instead",
    )
    return replace(source, validation=validation)


def _with_scored(source: Source, others: list[Source], labelling: Labelling) -> Source:
    """`source` with the first of the other splits whose labels are all known held out, or the first where there is none."""
    missing = {
        other.split: len(other) if other.label_column is None else labelling.num_missing(other) for other in others
    }
    labelled = [other for other in others if not missing[other.split]]
    skipped = list(takewhile(lambda other: missing[other.split], others)) if labelled else []
    passed_over = {other.split: (missing[other.split], len(other)) for other in skipped}
    return replace(source, test=next(iter(labelled + others), None), passed_over=passed_over)


def _check_classes(source: Source, other: Source) -> None:
    """Numbers of classes mean the same on both sides, or are refused."""
    if source.label_column is None or other.label_column is None:
        return
    names = [getattr(side.rows.features[side.label_column], "names", None) for side in (source, other)]
    require(
        names[0] == names[1],
        f"the classes of the splits {source.split} and {other.split} differ ({names[0]} and {names[1]}), so their numbers do not "
        "mean the same: encode both alike, or name the labels in a column of texts",
    )


def with_rows_held_out(source: Source, share: float | None) -> Source:
    """`source` less a share of its rows, which are watched instead, and scored where there is nothing else to score.

    At least 8 and at most 1,000 of them, always the same, whatever the run's seed. Nothing is held out of fewer than
    FEWEST_ROWS rows, unless a share is given.
    """
    if share == 0 or (share is None and len(source) < FEWEST_ROWS):
        return source
    config = round((SHARE_HELD_OUT if share is None else share) * len(source))
    count = min(max(config, LEAST_HELD_OUT), MOST_HELD_OUT)
    require(
        count < len(source),
        f"validation_share {share} of {len(source)} rows leaves none to train on: set --validation_share 0",
    )
    shuffled = fixed_rows(len(source), len(source))
    validation = replace(source.part(np.sort(shuffled[:count])), split=f"{source.split} (held out)")
    return replace(source.part(np.sort(shuffled[count:])), validation=validation, test=source.test or validation)


def fixed_rows(num_rows: int, count: int) -> "np.ndarray[Any, Any]":
    """`count` row numbers, or all if there are fewer: the first of a permutation that depends on `num_rows` alone."""
    _, order = DataOrder(num_rows, seed=0).at(torch.arange(num_rows))
    rows: np.ndarray[Any, Any] = order[:count].numpy()
    return rows


def _open_splits(config: DataConfig) -> DatasetDict:
    name = str(config.dataset)
    if name.startswith("demo:"):
        return demo.SETS[name[5:]]()
    path = Path(name).expanduser()
    try:
        if isinstance(config, TextDataConfig) and reads_text_files(name):
            return open_text_files(config)
        if path.exists():
            return _open_local(path, config)
        if isinstance(config, AudioDataConfig):
            return load_with_audio(name, config.dataset_config)
        opened = load_dataset(name, config.dataset_config)
    except ConfigError:
        raise
    except (DatasetsError, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"--dataset {name} can not be opened: {reason}") from error
    return opened


def _open_local(path: Path, config: DataConfig) -> DatasetDict:
    if path.is_file():
        return load_dataset(_TABLE_BUILDERS[path.suffix], data_files=str(path))
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        opened = load_from_disk(str(path))
        return opened if isinstance(opened, DatasetDict) else DatasetDict({"train": opened})
    if isinstance(config, ImageDataConfig) and _holds(path, IMAGE_SUFFIXES):
        return load_dataset("imagefolder", data_dir=str(path))  # like audiofolder it takes labels from folder names
    if isinstance(config, AudioDataConfig) and _holds(path, AUDIO_SUFFIXES):
        return load_with_audio("audiofolder", data_dir=str(path))
    return load_dataset(str(path))


def _holds(folder: Path, suffixes: frozenset[str]) -> bool:
    return any(file.suffix.lower() in suffixes for file in folder.rglob("*"))
