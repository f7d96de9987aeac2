"""Plain text files as rows: one file or a folder of them, of which no file is left out in silence."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute
from datasets import Dataset, DatasetDict, load_dataset
from datasets.exceptions import DatasetGenerationError

from hfssl.data.folder_splits import as_data_files, files_of_splits
from hfssl.data.reading import Opened
from hfssl.data.texts.config import TEXT_SUFFIXES, TextDataConfig
from hfssl.distributed import is_main_process
from hfssl.errors import ConfigError

_BLOCK = 8192
REPLACEMENT = "\ufffd"


def open_text_files(config: TextDataConfig) -> Opened:
    """A row in the column `text` for each document, paragraph or line, in the order of file names.

    Raises:
        ConfigError: a file is not UTF-8, or some files of a folder belong to splits and others do not.
        DatasetsError: what `datasets` cannot read for another reason.
    """
    path = Path(str(config.dataset)).expanduser().resolve()
    splits, _, reading = files_of_splits(path, TEXT_SUFFIXES, "text", names_say=True)
    try:
        opened = load_dataset(
            "text",
            data_files={split: as_data_files(files) for split, files in splits.items()},
            sample_by=config.text_unit,
            encoding="utf-8-sig",  # without the mark that some editors set before the first character
            encoding_errors="replace" if config.invalid_utf8 == "replace" else "strict",
        )
    except DatasetGenerationError:
        _name_what_is_not_utf8([file for files in splits.values() for file in files])
        raise
    if config.invalid_utf8 == "replace" and is_main_process():
        _print_replaced(opened, config)
    return Opened(opened, reading)


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
