"""Errors that a user can cause or remedy. Each message is one line: what was given, what is allowed, what to do.

Standard library only, so that a mistyped flag is answered before torch is imported.
"""

import errno
import sys
from typing import NoReturn

OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""Numbers of the OSErrors of a disk that is full, or may not be written or read."""


_SHORT_WRITE = "unexpected pos"  # torch's words for a write that a full disk cut


class ConfigError(ValueError):
    """A setting that cannot work."""


class BatchSizeError(ConfigError):
    """A micro-batch that this model cannot train on, while another size may work."""


class SharedError(ConfigError):
    """A ConfigError that every rank raises: only the main process prints it."""


class TrainingError(RuntimeError):
    """A run that cannot continue; what was saved stays."""


class Interrupted(RuntimeError):
    """The run was asked to stop; its state is saved. `signal_number` says by which signal."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def require(condition: bool, message: str) -> None:
    """Raise ConfigError(message) unless `condition` holds."""
    if not condition:
        raise ConfigError(message)


def one_line(error: BaseException) -> str:
    """The message of a library's error, for the end of an error of ours."""
    said = " ".join(str(error).split())[:300]
    return f"No space left on device ({said})" if _SHORT_WRITE in said else said


def exit_with(error: ConfigError) -> NoReturn:
    """Print one line and leave with exit code 2."""
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(2)
