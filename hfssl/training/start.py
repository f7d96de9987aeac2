"""Where a run starts: a new folder, the checkpoint of an interrupted run, or a finished run's table."""

import fcntl
import functools
import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from hfssl.config.invocation import this_command
from hfssl.config.run_config import RunConfig
from hfssl.errors import ConfigError, one_line, require
from hfssl.run_dir import RUNS, Json, RunDir, why_not_usable
from hfssl.run_lock import LOCK
from hfssl.training.checkpoint import TrainState, clear_away, newest_whole, read_state
from hfssl.training.closing_record import PAGES, is_closed, missing_parts
from hfssl.training.energy import power_of
from hfssl.training.numbered_runs import next_free, runs_of
from hfssl.version import __version__

_PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "datasets",
    "accelerate",
    "peft",
    "numpy",
    "safetensors",
    "huggingface-hub",
)


@dataclass(frozen=True)
class Start:
    """state is None for a run from step 0; passed_over says which broken checkpoints were skipped."""

    run_dir: RunDir
    state: TrainState | None
    passed_over: list[str]
    finished: bool = False


class InUseError(ConfigError):
    """Another process works in the run folder."""


class FolderLock:
    """Held by the process that works in a run folder, until it releases it or dies.

    A POSIX record lock: unlike flock's, it does not pass on to forked data workers, which outlive a killed run by seconds.
    """

    def __init__(self, run_dir: RunDir) -> None:
        try:
            run_dir.path.mkdir(parents=True, exist_ok=True)
            self._file = (run_dir.path / LOCK).open("w")
        except OSError as error:
            raise ConfigError(
                f"{run_dir.path} cannot be locked ({one_line(error)}): name another --output_dir"
            ) from error
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise InUseError(f"{run_dir.path} is in use by another process") from error

    def release(self) -> None:
        self._file.close()


def choose(run: RunConfig) -> tuple[Start, FolderLock]:
    """Where this run starts, and the lock on its folder. For the main process only.

    Raises:
        ConfigError: the folder holds another run, or what --resume asks for is not there.
    """
    loop = run.loop
    if loop.output_dir is not None:
        return _in_named_folder(run, RunDir(Path(loop.output_dir)))
    if loop.resume != "never":
        for run_dir in reversed(runs_of(run.recipe)):
            is_done = run_dir.is_finished() and not loop.rescale_schedule and is_closed(run_dir)
            if is_done or not _is_same_run(run, run_dir):
                continue
            try:
                return _continued(run, run_dir)
            except InUseError:
                continue
    require(loop.resume != "must", f"--resume must: there is no unfinished run of this configuration in {RUNS}/")
    run_dir = next_free(run.recipe)
    return Start(run_dir, None, []), FolderLock(run_dir)


def _in_named_folder(run: RunConfig, run_dir: RunDir) -> tuple[Start, FolderLock]:
    problem = why_not_usable(run_dir.path)
    require(problem is None, f"--output_dir {run_dir.path} {problem}")
    if not run_dir.is_run():
        require(run.loop.resume != "must", f"--resume must: {run_dir.path} holds no run")
        return Start(run_dir, None, []), FolderLock(run_dir)
    require(run.loop.resume != "never", f"--resume never: {run_dir.path} holds a run already: name another folder")
    return _continued(run, run_dir)


def _continued(run: RunConfig, run_dir: RunDir) -> tuple[Start, FolderLock]:
    stored = run_dir.read_config()
    recipe = stored["recipe"]
    require(recipe == run.recipe, f"{run_dir.path} holds a run of the recipe {recipe}: name another folder")
    differences = run.fixed_differences(stored)
    require(
        not differences,
        f"{run_dir.path} was started with other settings ({'; '.join(differences)}): name another folder",
    )
    lock = FolderLock(run_dir)
    step, passed_over = newest_whole(run_dir)
    clear_away(run_dir, step)
    state = None if step is None else read_state(run_dir, step)
    finished = run_dir.is_finished() and not run.loop.rescale_schedule and not _has_to_close(run_dir, state)
    require(
        finished or state is not None or run.loop.resume != "must",
        f"--resume must: {run_dir.path} has no whole checkpoint",
    )
    return Start(run_dir, state, passed_over, finished), lock


def _has_to_close(run_dir: RunDir, state: TrainState | None) -> bool:
    """Whether a finished run lacks more than its pages, and its last checkpoint is there to make it from."""
    is_missing = any(part not in PAGES for part in missing_parts(run_dir))
    return is_missing and state is not None and (run_dir.read_summary() or {}).get("steps") == state.step


def _is_same_run(run: RunConfig, run_dir: RunDir) -> bool:
    try:
        stored = run_dir.read_config() if run_dir.is_run() else {}
    except ConfigError:  # of another version, or damaged: not to be resumed
        return False
    any_length = run.loop.rescale_schedule
    return bool(stored.get("digest_of_any_length" if any_length else "digest") == run.digest(any_length))


@functools.cache
def versions() -> dict[str, str]:
    """Versions of everything that decides a run's numbers."""
    return {"hfssl": __version__, "python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in _PACKAGES
    }


def environment(accelerator: Accelerator) -> Json:
    """What environment.json holds: versions, hardware, and the command, which may name local paths."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "versions": versions(),
        "device": accelerator.device.type,
        "gpus": gpus,
        "cpu": cpu_name(),
        "cpu_cores": os.cpu_count(),
        "threads_per_process": torch.get_num_threads(),
        "num_processes": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
        "power": power_of(accelerator.device, accelerator.num_processes)._asdict(),
        "command": this_command(),
    }


def cpu_name() -> str:
    """The processor's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
