"""The files below a folder, by their suffixes: what every opener of a folder starts from."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_OF_A_RUN = ("metrics.jsonl", "checkpoints", "export", "environment.json", ".lock")  # next to its config.yaml


class FolderFiles(NamedTuple):
    """What lies below a folder, each part in the order of its paths. See `files_below`.

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
    """All regular files in a folder and its subfolders; links to folders are followed, each folder once.

    Left out: hidden files and folders, run folders of this program, and what is no regular file, such as a pipe.
    """
    seen = {os.path.realpath(folder)}
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as listing:
            entries = [entry for entry in listing if not entry.name.startswith(".")]
        for entry in sorted(entries, key=lambda entry: entry.name, reverse=True):
            if entry.is_file():
                yield Path(entry.path)
            elif entry.is_dir() and not is_run_folder(entry.path):
                real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.abspath(entry.path)
                if real not in seen:
                    seen.add(real)
                    waiting.append(entry.path)


def is_run_folder(folder: str | Path) -> bool:
    """Whether this program wrote the folder: its images and tables are results, not data."""
    has = Path(folder).joinpath
    return has("config.yaml").is_file() and any(has(name).exists() for name in _OF_A_RUN)
