"""Which files of a folder belong to which split: what the names of its first folders say, or those of its tables."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.data_files import DataFilesList

from hfssl.data.folder_files import folder_files
from hfssl.data.reading import Reading, is_named_in_utf8, reading_of
from hfssl.errors import ConfigError, require

_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")  # train-00000-of-00002.parquet, as the Hub stores tables
_NAMED = 3


class SplitFiles(NamedTuple):
    """Files of each split, in the order of their paths.

    roots: split -> the folder that its paths are read from: class folders are the first level below it.
    """

    splits: dict[str, list[Path]]
    roots: dict[str, Path]
    reading: Reading


def files_of_splits(
    path: Path, suffixes: frozenset[str], samples: str, *, names_say: bool, aside: Sequence[str] = ()
) -> SplitFiles:
    """Split -> its files. The folders at the top level are splits where each is called train, validation or test.

    `Training`, `val` and other usual spellings count. Nothing else in a path says what split it belongs to, but for
    tables and texts their whole names: train.csv, wiki.train.txt, train-00000-of-00002.parquet.

    Args:
        samples: what the files hold, for messages: text.
        names_say: whether names of files tell splits: those of tables and texts do, those of images do not.
        aside: names of files that are neither samples nor left out: metadata.csv.

    Raises:
        ConfigError: some files of the folder belong to splits and others do not.
    """
    if path.is_file():
        return SplitFiles({"train": [path]}, {"train": path.parent}, Reading())
    found = folder_files(path, suffixes)
    files = [file for file in found.files if is_named_in_utf8(file) and file.name not in aside]
    unnamed = [file for file in found.files if not is_named_in_utf8(file)]
    others = [file for file in found.left_out if file.name not in aside]
    reading = reading_of(files, others, {"the name is not UTF-8": unnamed})
    top = _without_single_folders(path, files)
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(_split_of(file.relative_to(top), names_say), []).append(file)
    outside = splits.pop("", [])
    splits = {split: splits[split] for split in _SPLITS if split in splits}
    if "train" not in splits or (not outside and len(splits) == 1) or _are_classes(splits, outside, top):
        return SplitFiles({"train": files}, {"train": top}, reading)
    if outside:
        names = ", ".join(str(file.relative_to(path)) for file in outside[:_NAMED])
        raise ConfigError(
            f"--dataset {path} has the splits {', '.join(splits)} and {len(outside)} {samples} files outside of them ({names}): "
            "move these, or name one folder or file"
        )
    roots = dict.fromkeys(splits, top) if names_say else _roots(splits, top)
    counts = [f"{split} ({_said(roots[split], path)}{len(files)} files)" for split, files in splits.items()]
    return SplitFiles(splits, roots, reading.and_also(f"splits      {', '.join(counts)}"))


def _split_of(file: Path, names_say: bool) -> str:
    """train, validation or test by the first folder (`train/a.txt`) or the name (`train.txt`, `wiki.train.txt`); else ''."""
    words = [file.parts[0]] if len(file.parts) > 1 else []
    if names_say:
        words.append(_SHARD.sub("", file.stem).rpartition(".")[2])
    found = (split for word in words for split, names in _SPLITS.items() if word.lower() in names)
    return next(found, "")


def _without_single_folders(path: Path, files: Sequence[Path]) -> Path:
    """The folder where paths begin to differ: an archive often holds one folder that holds all."""
    while True:
        firsts = {file.relative_to(path).parts[0] for file in files if len(file.relative_to(path).parts) > 1}
        if len(firsts) != 1 or any(file.parent == path for file in files):
            return path
        path = path / firsts.pop()


def _said(root: Path, path: Path) -> str:
    return "" if root == path else f"{root.relative_to(path)}, "


def _are_classes(splits: dict[str, list[Path]], outside: Sequence[Path], top: Path) -> bool:
    """Whether train and test are classes among others: their siblings hold files at the same depth, and no folders."""
    all_files = [file for files in splits.values() for file in files] + list(outside)
    return bool(outside) and all(len(file.relative_to(top).parts) == 2 for file in all_files)


def _roots(splits: dict[str, list[Path]], top: Path) -> dict[str, Path]:
    """Split -> its folder, below which a folder that every split has as its only one is left out too."""
    roots = {}
    for split, files in splits.items():
        folders = sorted({top if file.parent == top else top / file.relative_to(top).parts[0] for file in files})
        both = " and ".join(str(folder.relative_to(top)) for folder in folders)
        require(len(folders) == 1, f"{top} has {both}, which all are the split {split}: join them, or rename one")
        roots[split] = folders[0]
    deeper = {split: _without_single_folders(roots[split], files) for split, files in splits.items()}
    names = {deeper[split].relative_to(roots[split]) for split in splits}
    return deeper if len(names) == 1 else roots


def as_data_files(files: list[Path]) -> DataFilesList:
    """Names as they are: `datasets` would take brackets in them for patterns. Time and size tell a changed file."""
    states = [file.stat() for file in files]
    return DataFilesList([str(file) for file in files], [(str(s.st_mtime_ns), str(s.st_size)) for s in states])
