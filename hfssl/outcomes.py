"""How a command ends that did not succeed: a line and an exit code, not a traceback; and which libraries stay silent."""

from collections.abc import Iterator
from contextlib import contextmanager

import datasets
from transformers.utils import logging as transformers_logging

from hfssl.config import exit_with
from hfssl.distributed import is_main_process
from hfssl.fields import ConfigError
from hfssl.training.checkpoint import TrainingError
from hfssl.training.progress import wants_bars


class SharedError(ConfigError):
    """A ConfigError that every rank raises: the main process alone prints it."""


class Interrupted(RuntimeError):
    """The run was asked to stop; its state is saved. `signal_number` says by what."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number


@contextmanager
def reported(from_command_line: bool) -> Iterator[None]:
    """On the command line, errors that have a remedy are one line and an exit code, not a traceback."""
    try:
        yield
    except ConfigError as error:
        if not from_command_line:
            raise
        if isinstance(error, SharedError) and not is_main_process():
            raise SystemExit(2) from None
        exit_with(error)
    except TrainingError as error:
        if not from_command_line:
            raise
        raise SystemExit(f"error: {error}") from None
    except Interrupted as stop:
        if not from_command_line:
            raise
        if is_main_process():
            print(stop, flush=True)
        raise SystemExit(128 + stop.signal_number) from None


def quieten_libraries() -> None:
    """No load reports: what is missing or unused is checked here and said in a line. Bars of data sets on terminals alone."""
    if not wants_bars():
        datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
