"""What a person sees in the terminal: a bar of steps, lines that never break it, and one line for an error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import datasets
from huggingface_hub import constants
from tqdm import tqdm
from transformers.utils import logging as transformers_logging

from hfssl.distributed import is_main_process
from hfssl.errors import OF_THE_DISK, ConfigError, Interrupted, SharedError, TrainingError, exit_with


@contextmanager
def reported() -> Iterator[None]:
    """Print errors that have a remedy as one line with an exit code, without a traceback."""
    try:
        yield
    except ConfigError as error:
        if isinstance(error, SharedError) and not is_main_process():
            raise SystemExit(2) from None
        exit_with(error)
    except TrainingError as error:
        raise SystemExit(f"error: {error}") from None
    except OSError as error:
        if error.errno not in OF_THE_DISK:
            raise
        path = error.filename or "a file"
        raise SystemExit(f"error: {path}: {error.strerror}; mend that, then start the same command again") from error
    except Interrupted as stop:
        if is_main_process():
            print(stop, flush=True)
        raise SystemExit(128 + stop.signal_number) from None


def quieten_libraries() -> None:
    """Silence load reports and progress bars of the libraries: hfssl checks and reports missing weights itself."""
    if not wants_bars():
        datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def wants_bars() -> bool:
    """On a terminal, unless HF_HUB_DISABLE_PROGRESS_BARS says no."""
    return sys.stderr.isatty() and not constants.HF_HUB_DISABLE_PROGRESS_BARS


def step_bar(done: int, total: int, is_shown: bool) -> "tqdm[Any]":
    """A bar of steps on standard error; without effect where bars are not wanted."""
    return tqdm(
        initial=done,
        total=total,
        unit="step",
        file=sys.stderr,
        disable=not (is_shown and wants_bars()),
        leave=False,
        dynamic_ncols=True,
    )


def say(line: str) -> None:
    """A line on standard output, above the bar where there is one."""
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()
