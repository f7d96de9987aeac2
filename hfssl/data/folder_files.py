"""The files below a folder, by their suffixes: what every opener of a folder starts from."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class FolderFiles(NamedTuple):
    """What lies below a folder, hidden files and folders left out, each part in the order of its paths.

    files: those with one of the suffixes; left_out: the others.
    """

    files: list[Path]
    left_out: list[Path]


def folder_files(folder: Path, suffixes: frozenset[str]) -> FolderFiles:
    """All files below `folder`, those with one of `suffixes` (in lower case) apart from the others."""
    found = FolderFiles([], [])
    for file in sorted(files_below(folder)):
        (found.files if has_suffix(file, suffixes) else found.left_out).append(file)
    return found


def holds_files(folder: Path, suffixes: frozenset[str]) -> bool:
    """Whether a file with one of `suffixes` lies below `folder`; stops at the first."""
    return any(has_suffix(file, suffixes) for file in files_below(folder))


def has_suffix(file: Path, suffixes: frozenset[str]) -> bool:
    """Whether a file's suffix, in whatever case, is one of `suffixes`."""
    return file.suffix.lower() in suffixes


def files_below(folder: Path) -> Iterator[Path]:
    """All files in a folder and its subfolders, hidden ones left out."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent) / name for name in names if not name.startswith("."))
