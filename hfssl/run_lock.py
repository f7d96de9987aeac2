"""Whether a process works in a run folder: asked of the lock file without taking the lock."""

import fcntl
import struct
import sys
from pathlib import Path

LOCK = ".lock"
# struct flock: type, whence, start, length, process; elsewhere than on Linux start, length, process, type, whence
_IS_LINUX = sys.platform.startswith("linux")
_LAYOUT = "hhqqi" if _IS_LINUX else "qqihh"
_QUESTION = (fcntl.F_WRLCK, 0, 0, 0, 0) if _IS_LINUX else (0, 0, 0, fcntl.F_WRLCK, 0)
_TYPE = 0 if _IS_LINUX else 3


def is_locked(folder: Path) -> bool:
    """Whether a process holds the lock of this folder; no run is disturbed by the question."""
    try:
        with (folder / LOCK).open("rb") as file:
            asked = struct.pack(_LAYOUT, *_QUESTION)
            answer = struct.unpack(_LAYOUT, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except OSError:
        return False
    return bool(answer[_TYPE] != fcntl.F_UNLCK)
