"""Which files of a folder belong to which split, by the names of folders and files."""

from pathlib import Path

from datasets.data_files import DataFilesList

from hfssl.data.folder_files import folder_files
from hfssl.errors import ConfigError

_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_NAMED = 3


def files_of_splits(path: Path, suffixes: frozenset[str], samples: str) -> dict[str, list[Path]]:
    """Split -> its files: a folder or file name says train, validation or test; else all of them are train.

    Args:
        samples: what the files hold, for messages: text.

    Raises:
        ConfigError: some files of the folder belong to splits and others do not.
    """
    if path.is_file():
        return {"train": [path]}
    files = folder_files(path, suffixes).files
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(_split_of(file.relative_to(path)), []).append(file)
    outside = splits.pop("", [])
    if "train" not in splits or (not outside and len(splits) == 1):
        return {"train": files}
    if outside:
        names = ", ".join(str(file.relative_to(path)) for file in outside[:_NAMED])
        raise ConfigError(
            f"--dataset {path} has the splits {', '.join(splits)} and {len(outside)} {samples} files outside of them ({names}): "
            "move these, or name one folder or file"
        )
    return splits


def _split_of(file: Path) -> str:
    """train, validation or test by the first folder (`train/a.txt`) or the name (`train.txt`, `wiki.train.txt`); else ''."""
    word = (file.parts[0] if len(file.parts) > 1 else file.stem.rpartition(".")[2]).lower()
    return next((split for split, names in _SPLITS.items() if word in names), "")


def as_data_files(files: list[Path]) -> DataFilesList:
    """Names as they are: `datasets` would take brackets in them for patterns. Time and size tell a changed file."""
    states = [file.stat() for file in files]
    return DataFilesList([str(file) for file in files], [(str(s.st_mtime_ns), str(s.st_size)) for s in states])
