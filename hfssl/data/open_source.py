"""Opening a data set from wherever it lies; each modality's opener passes a `Reader` with what only it knows."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset, DatasetDict, load_dataset, load_from_disk
from datasets.exceptions import DatasetsError

from hfssl.config.sections import DataConfig
from hfssl.data.columns import FindColumn, choose_column, choose_label, class_columns
from hfssl.data.demo import sets as demo
from hfssl.data.folder_rows import LISTED
from hfssl.data.location_check import is_saved_set
from hfssl.data.reading import Opened, say
from hfssl.data.source import Source, with_rows_held_out
from hfssl.data.tables import open_tables
from hfssl.distributed import is_main_process
from hfssl.errors import ConfigError, one_line, require

_TEST_SPLIT = "test"
_OTHER_SPLITS = (_TEST_SPLIT, "validation", "val", "valid")


def load_from_hub(name: str, config_name: str | None) -> DatasetDict:
    """The splits of a Hub id."""
    opened: DatasetDict = load_dataset(name, config_name)
    return opened


def keep_all(rows: Dataset, column: str, name: str) -> Dataset:
    """The rows as they are."""
    return rows


def as_they_are(samples: Dataset, column: str, folder: Path) -> Dataset:
    """The samples as the data set stores them."""
    return samples


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How the samples of one modality are read.

    flag: the flag that chooses their column.
    find: names of the columns that can hold them.
    open_files: path -> the splits of a file or folder of this modality's own files; None where the path holds no such file.
    load: (Hub id, configuration name) -> its splits.
    filter_rows: (rows, column of the samples, name of the rows in messages) -> the rows to keep.
    undecoded: (columns of samples and labels, column of the samples, folder of relative paths) -> the samples undecoded.
    """

    flag: str
    find: FindColumn
    open_files: Callable[[Path], Opened | None]
    load: Callable[[str, str | None], DatasetDict] = load_from_hub
    filter_rows: Callable[[Dataset, str, str], Dataset] = keep_all
    undecoded: Callable[[Dataset, str, Path], Dataset] = as_they_are


class Labelling(NamedTuple):
    """How labels are found.

    find: columns that may hold them; num_missing: rows of a labelled split that have none.
    """

    find: FindColumn = class_columns
    num_missing: Callable[[Source], int] = lambda source: source.num_withheld()


OF_CLASSES = Labelling()


def open_source(
    config: DataConfig,
    reader: Reader,
    *,
    column: str | None,
    label_column: str | None,
    labelling: Labelling = OF_CLASSES,
) -> Source:
    """The source that `config` names.

    Args:
        column, label_column: what the user chose, or None.
        labelling: what labels are, unless classes.

    Raises:
        ConfigError: nothing there, no such split, no or several fitting columns.
    """
    assert config.dataset is not None
    splits, reading = _open_splits(config, reader)
    if is_main_process():
        say(reading)
    if config.split not in splits:
        raise ConfigError(f"--split {config.split} is not in {config.dataset}; it has: {', '.join(splits)}")

    def of_split(split: str) -> Source:
        rows = splits[split]
        require(len(rows) > 0, f"the split {split} of {config.dataset} has no rows")
        chosen = choose_column(rows, reader.find, column, reader.flag)
        label = choose_label(rows, label_column, split, labelling.find, is_needed=split == config.split)
        require(chosen != label, f"--{reader.flag} {chosen} is the column of the labels: choose another")
        if LISTED in rows.features:  # the other files have no labels
            rows = (_listed(rows) if label is not None else rows).remove_columns(LISTED)
        rows = reader.filter_rows(rows, chosen, f"{split} of {config.dataset}")
        samples = rows.select_columns([chosen] if label is None else [chosen, label])
        samples = reader.undecoded(samples, chosen, Path(str(config.dataset)).expanduser().parent)
        return Source(str(config.dataset), split, samples, chosen, label, None, rows)

    source = replace(of_split(config.split), reading=reading)
    others = [of_split(name) for name in _OTHER_SPLITS if name in splits and name != config.split]
    for other in others:
        _check_classes(source, other)
    source = _with_scored(source, others, labelling)
    validation = next((other for other in others if other.split != _TEST_SPLIT), None)
    if validation is None:
        return with_rows_held_out(source, config.validation_share)
    require(
        not config.validation_share,
        f"validation_share has no effect: {config.dataset} has the split {validation.split}, which is used for validation",
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


def _listed(rows: Dataset) -> Dataset:
    """Rows of the files that a metadata file lists."""
    are_listed = rows[LISTED][:]
    return rows if all(are_listed) else rows.select([row for row, is_listed in enumerate(are_listed) if is_listed])


def _open_splits(config: DataConfig, reader: Reader) -> Opened:
    name = str(config.dataset)
    if name.startswith("demo:"):
        return Opened(demo.SETS[name[5:]]())
    path = Path(name).expanduser()
    try:
        if not path.exists():
            return Opened(reader.load(name, config.dataset_config))
        return reader.open_files(path) or open_local(path, config.dataset_config)
    except ConfigError:
        raise
    except (DatasetsError, RuntimeError, ValueError, OSError) as error:
        here = "" if path.exists() else f" (there is no file or folder {name} here)"
        raise ConfigError(f"--dataset {name} cannot be opened{here}: {one_line(error)}") from error


def open_local(path: Path, dataset_config: str | None = None) -> Opened:
    """A saved data set, a repository of the Hub with its card, or tables, of any modality. Raises what reading them raises."""
    if is_saved_set(path):
        opened = load_from_disk(str(path))
        return Opened(opened if isinstance(opened, DatasetDict) else DatasetDict({"train": opened}))
    if _has_card(path):
        return Opened(load_dataset(str(path), dataset_config))
    return open_tables(path)


def _has_card(path: Path) -> bool:
    """Whether a README says which files are which split, as in a repository of the Hub."""
    card = path / "README.md"
    if not card.is_file():
        return False
    with card.open(encoding="utf-8", errors="replace") as lines:
        head = list(takewhile(lambda line: line.strip() != "---", lines)) if next(lines, "").strip() == "---" else []
    return any(line.startswith("configs:") for line in head)
