"""Checkpoints that survive a kill: written to a temporary folder, checked, renamed; read back only when whole.

A checkpoint folder holds what Accelerate's `save_state` writes, `train_state.json`, and `manifest.json` with the size and
checksum of each file. The folder appears under its name by one rename, after everything in it is on the disk.
"""

import dataclasses
import hashlib
import json
import logging
import pickle
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from accelerate import Accelerator
from safetensors import SafetensorError

from hfssl.data.cache_folder import bring_to_disk
from hfssl.distributed import all_gather_objects, barrier, is_main_process
from hfssl.errors import TrainingError, one_line
from hfssl.run_dir import Json, RunDir, discard
from hfssl.training.state_check import what_is_no_state

_MANIFEST = "manifest.json"
_STATE = "train_state.json"
_BLOCK = 1 << 22
_UNREADABLE = (
    *(OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError),
    *(pickle.UnpicklingError, SafetensorError),
)


@dataclass
class TrainState:
    """All that a resumed run needs in addition to tensors.

    step: global batches consumed, applied or skipped.
    skipped_steps, skipped_in_a_row: non-finite steps so far, and since the last good one.
    loss_scale: see `training.step.Parts`.
    bad_rows: ids of rows that could not be used.
    interval: sums of the metrics since the last logged row.
    best_step, best_reached, looks_since_best: see `training.scored_rows.Choice`; the best step's checkpoint stays.
    first_figures, held_signs: what the alarms remember, see `training.alarms.Memory`.
    mixed_precision, data_path: what may not change on the way; see Accelerator and `DataPipeline.data_path`.
    """

    step: int
    max_steps: int
    num_rows: int
    loss_scale: float
    skipped_steps: int = 0
    skipped_in_a_row: int = 0
    bad_rows: list[int] = field(default_factory=list)
    interval: dict[str, float] = field(default_factory=dict)
    first_figures: dict[str, float] = field(default_factory=dict)
    held_signs: dict[str, list[float]] = field(default_factory=dict)
    best_step: int | None = None
    best_reached: list[float] | None = None
    looks_since_best: int = 0
    samples_seen: int = 0
    mixed_precision: str = "no"
    data_path: str = ""
    config_digest: str = ""
    versions: dict[str, str] = field(default_factory=dict)


def save(accelerator: Accelerator, run_dir: RunDir, state: TrainState, *, keep: int) -> Path:
    """Write the checkpoint of `state.step`, then remove the oldest beyond `keep`. Called by all ranks.

    Raises:
        TrainingError: it could not be written (disk full, say); earlier checkpoints are untouched.
    """
    target = run_dir.checkpoint(state.step)
    unfinished = target.with_name(f".{target.name}.tmp")
    if is_main_process():
        discard(unfinished)
    barrier()
    problem = _try_to_write(accelerator, unfinished, state)
    problems = [text for text in all_gather_objects(problem) if text is not None]
    if not problems and is_main_process():
        problem = _publish(unfinished, target)
    problems += [text for text in all_gather_objects(problem) if text is not None and text not in problems]
    if problems:
        if is_main_process():
            shutil.rmtree(unfinished, ignore_errors=True)
        kept = [str(run_dir.checkpoint(step)) for step in run_dir.checkpoint_steps()]
        last = f"the last whole one is {kept[-1]}" if kept else "there is no earlier one"
        raise TrainingError(f"the checkpoint of step {state.step} could not be written: {problems[0]}; {last}")
    if is_main_process():
        _remove_oldest(run_dir, keep, state.best_step)
    return target


def _try_to_write(accelerator: Accelerator, folder: Path, state: TrainState) -> str | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)  # it warns of tied weights, which are meant
        accelerator.save_state(str(folder))
        if is_main_process():
            (folder / _STATE).write_text(json.dumps(dataclasses.asdict(state), indent=1) + "\n", encoding="utf-8")
    except (
        OSError,
        RuntimeError,
        SafetensorError,
    ) as error:  # torch and safetensors report a full disk in their own ways
        return one_line(error)
    return None


def _publish(unfinished: Path, target: Path) -> str | None:
    try:
        files = sorted(path for path in unfinished.rglob("*") if path.is_file())
        manifest = {str(path.relative_to(unfinished)): _fingerprint(path) for path in files}
        (unfinished / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        for path in [*files, unfinished / _MANIFEST, unfinished]:
            bring_to_disk(path)
        if target.exists():
            shutil.rmtree(target)  # one that a resume passed over as broken
        unfinished.rename(target)
        bring_to_disk(target.parent)
    except OSError as error:
        return str(error)
    return None


def _fingerprint(path: Path) -> Json:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _remove_oldest(run_dir: RunDir, keep: int, best_step: int | None) -> None:
    ours = [step for step in run_dir.checkpoint_steps() if (run_dir.checkpoint(step) / _MANIFEST).is_file()]
    for step in ours[:-keep]:
        if step == best_step:
            continue
        leaving = run_dir.checkpoint(step).with_name(
            f".{run_dir.checkpoint(step).name}.tmp"
        )  # a kill leaves no half one
        run_dir.checkpoint(step).rename(leaving)
        shutil.rmtree(leaving, ignore_errors=True)


def what_is_wrong(folder: Path) -> str | None:
    """Why a checkpoint folder cannot be trusted; None if its manifest holds."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if _STATE not in manifest:
            return "the manifest is empty"
        for name, expected in manifest.items():
            if _fingerprint(folder / name) != expected:
                return f"{name} does not match the manifest"
        state = _state_in(folder)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        return one_line(error) or type(error).__name__
    return None if folder.name == f"step_{state.step:08d}" else f"{_STATE} is of step {state.step}"


def newest_whole(run_dir: RunDir) -> tuple[int | None, list[str]]:
    """(step of the newest checkpoint whose manifest holds, what was passed over and why)."""
    passed_over: list[str] = []
    for step in reversed(run_dir.checkpoint_steps()):
        problem = what_is_wrong(run_dir.checkpoint(step))
        if problem is None:
            return step, passed_over
        passed_over.append(f"{run_dir.checkpoint(step)} is passed over: {problem}")
    return None, passed_over


def read_state(run_dir: RunDir, step: int) -> TrainState:
    """The `train_state.json` of a whole checkpoint."""
    return _state_in(run_dir.checkpoint(step))


def _state_in(folder: Path) -> TrainState:
    """Raises ValueError or OSError where it is none that a run wrote."""
    content = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    problem = what_is_no_state(content, {field.name for field in dataclasses.fields(TrainState)})
    if problem is not None:
        raise ValueError(f"{_STATE}: {problem}")
    return TrainState(**content)


def load(accelerator: Accelerator, run_dir: RunDir, step: int) -> None:
    """Weights, buffers and optimizer state of a whole checkpoint into what `accelerator` prepared. Called by all ranks."""
    folder = run_dir.checkpoint(step)
    try:
        accelerator.load_state(str(folder))
    except _UNREADABLE as error:
        raise TrainingError(
            f"{folder} cannot be loaded ({one_line(error)}): remove it, and the run resumes from the checkpoint before"
        ) from error


def weights_file(run_dir: RunDir, step: int) -> Path:
    """The safetensors file with the objective's parameters and buffers."""
    return run_dir.checkpoint(step) / "model.safetensors"


def clear_away(run_dir: RunDir, newest: int | None) -> None:
    """Remove what a kill inside a save left behind, and put damaged checkpoints beyond `newest` aside, unnumbered."""
    for path in run_dir.checkpoints.glob(".step_*.tmp"):
        discard(path)
    for step in run_dir.checkpoint_steps():
        if newest is None or step > newest:
            damaged = run_dir.checkpoint(step)
            damaged.rename(damaged.with_name(f"damaged_{damaged.name}_{time.time_ns()}"))
