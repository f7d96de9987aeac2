"""Folders of derived data on disk, made once and shared by ranks, runs and workers."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from hfssl.run_dir import write_text

_SEAL = "seal.json"


def cache_root(kind: str) -> Path:
    """The folder of one kind of cache, made if need be: below `HFSSL_CACHE`, by default `~/.cache/hfssl`."""
    root = Path(os.environ.get("HFSSL_CACHE", Path.home() / ".cache" / "hfssl")) / kind
    root.mkdir(parents=True, exist_ok=True)
    return root


def made_once(folder: Path, is_whole: Callable[[Path], bool], write: Callable[[Path], None]) -> Path:
    """`folder`, filled by `write` unless `is_whole` says that it already is.

    Processes that ask at the same time wait for the one that writes. It writes to a temporary folder and then renames, so that
    a folder under its name is a whole one; a damaged one is made again.
    """
    if is_whole(folder):
        return folder
    with FileLock(f"{folder}.lock"):
        if not is_whole(folder):
            _make(folder, write)
    return folder


def _make(folder: Path, write: Callable[[Path], None]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    unfinished.mkdir(parents=True, exist_ok=True)
    try:
        write(unfinished)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def seal(folder: Path, **facts: str) -> None:
    """Write down the sizes of all files in `folder`, the last thing that its writer does, and what a reader must know."""
    sizes = {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}
    write_text(folder / _SEAL, json.dumps({"sizes": sizes, "facts": facts}))


def is_sealed(folder: Path) -> bool:
    """Whether `folder` is there with all files that were sealed, each of its size."""
    if not (folder / _SEAL).is_file():
        return False
    sizes = json.loads((folder / _SEAL).read_text(encoding="utf-8"))["sizes"]
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items())


def sealed_facts(folder: Path) -> dict[str, str]:
    """What `seal` was told."""
    facts: dict[str, str] = json.loads((folder / _SEAL).read_text(encoding="utf-8"))["facts"]
    return facts
