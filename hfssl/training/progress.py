"""Progress for people: a bar on a terminal, lines everywhere, and a line never breaks the bar."""

import sys
from typing import Any

from huggingface_hub import constants
from tqdm import tqdm


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
