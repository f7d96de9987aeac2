"""Plain text files as rows: one file or a folder of them, of which no file is left out in silence."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute
from datasets import Dataset, DatasetDict, load_dataset
from datasets.data_files import DataFilesList
from datasets.exceptions import DatasetGenerationError

from hfssl.data.location_check import files_below
from hfssl.data.texts.config import TEXT_SUFFIXES, TextDataConfig
from hfssl.distributed import is_main_process
from hfssl.errors import ConfigError

_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_BLOCK = 8192
_NAMED = 3
REPLACEMENT = "\ufffd"


def open_text_files(config: TextDataConfig) -> DatasetDict:
    """A row in the column `text` for each document, paragraph or line, in the order of file names.

    Raises:
        ConfigError: a file is not UTF-8, or some files of a folder belong to splits and others do not.
        DatasetsError: what `datasets` can not read for another reason.
    """
    splits = _files_of_splits(Path(str(config.dataset)).expanduser().resolve())
    try:
        opened = load_dataset(
            "text",
            data_files={split: _as_data_files(files) for split, files in splits.items()},
            sample_by=config.text_unit,
            encoding="utf-8-sig",  # without the mark that some editors set before the first character
            encoding_errors="replace" if config.invalid_utf8 == "replace" else "strict",
        )
    except DatasetGenerationError:
        _name_what_is_not_utf8([file for files in splits.values() for file in files])
        raise
    if config.invalid_utf8 == "replace" and is_main_process():
        _print_replaced(opened, config)
    return opened


def _files_of_splits(path: Path) -> dict[str, list[Path]]:
    """Split -> its files: a folder or file name says train, validation or test; else all of them are train."""
    if path.is_file():
        return {"train": [path]}
    files = sorted(file for file in files_below(path) if file.suffix.lower() in TEXT_SUFFIXES)
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(_split_of(file.relative_to(path)), []).append(file)
    outside = splits.pop("", [])
    if "train" not in splits or (not outside and len(splits) == 1):
        return {"train": files}
    if outside:
        names = ", ".join(str(file.relative_to(path)) for file in outside[:_NAMED])
        raise ConfigError(
            f"--dataset {path} has the splits {', '.join(splits)} and {len(outside)} text files outside of them ({names}): "
            "move these, or name one folder or file"
        )
    return splits


def _split_of(file: Path) -> str:
    """train, validation or test by the first folder (`train/a.txt`) or the name (`train.txt`, `wiki.train.txt`); else ''."""
    word = (file.parts[0] if len(file.parts) > 1 else file.stem.rpartition(".")[2]).lower()
    return next((split for split, names in _SPLITS.items() if word in names), "")


def _as_data_files(files: list[Path]) -> DataFilesList:
    """Names as they are: `datasets` would take brackets in them for patterns. Time and size tell a changed file."""
    states = [file.stat() for file in files]
    return DataFilesList([str(file) for file in files], [(str(s.st_mtime_ns), str(s.st_size)) for s in states])


def _name_what_is_not_utf8(files: list[Path]) -> None:
    for file in files:
        try:
            for _ in _characters(file):
                pass
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{file} is not UTF-8 ({error.reason}): convert it, or set --invalid_utf8 replace"
            ) from error


def _characters(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8") as opened:
        while block := opened.read(1 << 20):
            yield block


def _print_replaced(opened: DatasetDict, config: TextDataConfig) -> None:
    for split, rows in opened.items():
        if count := _replaced_rows(rows):
            print(
                f"{count} of {len(rows)} rows of {split} have characters that were not UTF-8: each stands as {REPLACEMENT}"
            )


def _replaced_rows(rows: Dataset) -> int:
    tables = rows.with_format("arrow")
    count = 0
    for start in range(0, len(rows), _BLOCK):
        found = pyarrow.compute.match_substring(tables[start : start + _BLOCK]["text"], REPLACEMENT)
        count += pyarrow.compute.sum(found).as_py() or 0
    return count
