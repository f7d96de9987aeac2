"""Run folders that nobody named: runs/<recipe>-<NNN>."""

import re
from pathlib import Path

from hfssl.run_dir import RUNS, RunDir


def runs_of(recipe: str) -> list[RunDir]:
    """The folders runs/<recipe>-<NNN>, oldest number first."""
    numbered = [
        (int(path.name.rsplit("-", 1)[1]), path) for path in RUNS.glob(f"{recipe}-*") if _is_numbered(path, recipe)
    ]
    return [RunDir(path) for _, path in sorted(numbered)]


def next_free(recipe: str) -> RunDir:
    """The run folder with the next free number; made at once, so that a run started at the same time takes another."""
    number = max((int(run.path.name.rsplit("-", 1)[1]) for run in runs_of(recipe)), default=-1) + 1
    while True:
        path = RUNS / f"{recipe}-{number:03d}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return RunDir(path)


def _is_numbered(path: Path, recipe: str) -> bool:
    return path.is_dir() and re.fullmatch(rf"{re.escape(recipe)}-\d+", path.name) is not None
