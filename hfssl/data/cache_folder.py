"""Folders of derived data on disk, made once and shared by ranks, runs and workers.

A folder is sealed by the last thing that its writer does: sizes and checksums of all files, and a checksum of the seal itself.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hfssl.errors import OF_THE_DISK, ConfigError, one_line
from hfssl.run_dir import Json, discard, write_text

_SEAL = "seal.json"
_WHOLE = 1 << 26  # bytes of a file that are all part of its checksum; of longer ones, blocks are
_BLOCKS, _BLOCK = 256, 1 << 16
_UNFINISHED = re.compile(r"\.(.+)\.\d+\.tmp")


def cache_root(kind: str) -> Path:
    """The folder of one kind of cache, made if need be: below `HFSSL_CACHE`, by default `~/.cache/hfssl`.

    Raises:
        ConfigError: it cannot be made.
    """
    root = Path(os.environ.get("HFSSL_CACHE", Path.home() / ".cache" / "hfssl")) / kind
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(_unwritable(root, error)) from error
    return root


def made_once(folder: Path, is_whole: Callable[[Path], bool], write: Callable[[Path], None]) -> Path:
    """`folder`, filled by `write` unless `is_whole` says that it already is.

    Processes that ask at the same time wait for the one that writes. It writes to a temporary folder and then renames, so that
    a folder under its name is a whole one; a damaged one is made again. What killed writers left behind is removed.

    Raises:
        ConfigError: the disk is full, or may not be written.
    """
    if is_whole(folder):
        return folder
    with _writable(folder.parent), FileLock(f"{folder}.lock"):
        if not is_whole(folder):
            _remove_unfinished(folder)
            _make(folder, write)
    return folder


def _make(folder: Path, write: Callable[[Path], None]) -> None:
    discard(folder)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    unfinished.mkdir(parents=True, exist_ok=True)
    try:
        write(unfinished)
        unfinished.rename(folder)
        bring_to_disk(folder.parent)
    finally:
        discard(unfinished)


def _remove_unfinished(folder: Path) -> None:
    """Remove half-made folders next to `folder`, whose lock this process holds, unless somebody writes them now."""
    for path in folder.parent.glob(".*.tmp"):
        match = _UNFINISHED.fullmatch(path.name)
        if match is None:
            continue
        if match[1] == folder.name:
            discard(path)
            continue
        try:
            with FileLock(f"{folder.with_name(match[1])}.lock", timeout=0):
                discard(path)
        except (Timeout, OSError):
            continue


@contextmanager
def _writable(root: Path) -> Iterator[None]:
    """Inside, a disk that is full or may not be written raises ConfigError."""
    try:
        yield
    except OSError as error:
        if error.errno not in OF_THE_DISK:
            raise
        raise ConfigError(_unwritable(root, error)) from error


def _unwritable(root: Path, error: OSError) -> str:
    return f"the cache {root} cannot be written ({one_line(error)}): free space there, or let HFSSL_CACHE name another folder"


def seal(folder: Path, **facts: str) -> None:
    """Write down sizes and checksums of all files in `folder`, and what a reader must know, once all is on the disk."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in [*files, *{path.parent for path in files}]:
        bring_to_disk(path)
    content = {"files": {str(path.relative_to(folder)): _fingerprint(path) for path in files}, "facts": facts}
    write_text(folder / _SEAL, json.dumps(content | {"sum": _sum_of(content)}))
    bring_to_disk(folder / _SEAL)
    bring_to_disk(folder)


def is_sealed(folder: Path) -> bool:
    """Whether `folder` is there with all files that were sealed, each as it was."""
    content = _sealed(folder)
    if content is None:
        return False
    try:
        return all(_fingerprint(folder / name) == expected for name, expected in content["files"].items())
    except OSError:
        return False


def sealed_facts(folder: Path) -> dict[str, str]:
    """What `seal` was told."""
    content = _sealed(folder)
    assert content is not None, "asked of sealed folders only"
    facts: dict[str, str] = content["facts"]
    return facts


def _sealed(folder: Path) -> Json | None:
    """The content of the seal; None where there is none, or it is damaged."""
    try:
        content = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.pop("sum", None) != _sum_of(content):
        return None
    return content


def _sum_of(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _fingerprint(path: Path) -> list[int | str]:
    """Size and checksum; of a long file, the checksum of blocks spread over it."""
    size = path.stat().st_size
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        if size <= _WHOLE:
            digest.update(file.read())
        else:
            for number in range(_BLOCKS):
                file.seek(number * (size - _BLOCK) // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK))
    return [size, digest.hexdigest()]


def bring_to_disk(path: Path) -> None:
    """Return when a file, or the names in a folder, would survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
