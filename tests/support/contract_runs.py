"""What the laws of tests/contract.py run, here or as ranks: each function opens a tiny session of its own."""

import functools
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hfssl.data.loader import micro_batches
from hfssl.objective import BadRowError, Batch, Examples, StepOutput
from hfssl.training.loop import train
from hfssl.training.step import StepContext, train_step
from tests.support.laboratory import (
    differing,
    drawn_for,
    open_small,
    ready,
    record_gradients,
    state_of,
    steps_of,
    validation,
    widened,
)


def step_at(parts: StepContext, batches: list[Batch], step: int, learning_rate: float, num_steps: int = 8) -> Any:
    """The outcome of step `step` of `num_steps`, taken with `learning_rate`."""
    for group in parts.optimizer.param_groups:
        group["lr"] = learning_rate
    return train_step(parts, batches, step=step, progress=step / num_steps, stop=False)


def losses_of(name: str, folder: Path, num_steps: int, **loop: Any) -> list[float]:
    """The mean loss of each step."""
    opened = open_small(name, folder, **loop)
    parts = ready(opened)
    results = [
        step_at(parts, batches, step, 1e-3, num_steps) for step, batches in enumerate(steps_of(opened, num_steps))
    ]
    return [float(result.loss_sum / result.num_targets) for result in results]


def gradients_of(name: str, method: dict[str, Any], loop: dict[str, Any]) -> tuple[float, dict[str, Tensor]]:
    """(loss, joint gradients) of the first global batch, in float64."""
    with tempfile.TemporaryDirectory() as folder:
        opened = open_small(name, Path(folder), method=method, **loop)
        parts = ready(opened, torch.float64)
        gradients = record_gradients(parts.objective)
        result = train_step(parts, steps_of(opened, 1)[0], step=0, progress=0.0, stop=False)
        return float(result.loss_sum / result.num_targets), gradients


@functools.lru_cache(maxsize=16)
def gradients_here(name: str, per_device: int, **method: Any) -> tuple[float, dict[str, Tensor]]:
    """`gradients_of` in this process, computed once for all laws of a method."""
    return gradients_of(name, method, {"per_device_batch_size": per_device})


@functools.cache
def is_coupled(name: str, **method: Any) -> bool:
    """Whether the loss of a sample depends on the others of its batch."""
    with tempfile.TemporaryDirectory() as folder:
        return open_small(name, Path(folder), method=method).objective.batch_coupled


def tensors_after(name: str, folder: Path, num_steps: int, loop: dict[str, Any]) -> dict[str, Tensor]:
    """Every tensor of objective and optimizer after some steps."""
    opened = open_small(name, folder, **loop)
    parts = ready(opened)
    for step, batches in enumerate(steps_of(opened, num_steps)):
        step_at(parts, batches, step, 1e-2)
    return state_of(parts)


def changed_by_nan(name: str, folder: Path, loop: dict[str, Any], guilty_rank: int, precision: str) -> list[str]:
    """Names of tensors that a step with a NaN on one rank changed, after two good steps. For a process of its own."""
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16" if precision == "bf16" else "no"
    opened = open_small(name, folder, **loop)
    assert opened.accelerator.native_amp == (precision == "bf16")
    forward, is_poisoned = opened.objective.forward, []

    def poisoned_forward(batch: Batch, progress: float) -> StepOutput:
        output = forward(batch, progress)
        return output._replace(loss_sum=output.loss_sum * torch.nan) if is_poisoned else output

    opened.objective.forward = poisoned_forward  # type: ignore[method-assign]
    parts = ready(opened)
    if precision == "scaler":  # that of fp16, which Accelerate itself gives to GPUs only
        parts.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    augment = parts.augment

    def poisoned_augment(batch: Batch, progress: float) -> Batch:
        if batch.pop("poisoned", None) is not None:
            is_poisoned.append(True)
        changed = augment(batch, progress)
        if is_poisoned:
            changed = {key: value * torch.nan if value.is_floating_point() else value for key, value in changed.items()}
        return changed

    parts.augment = poisoned_augment
    for step, batches in enumerate(steps_of(opened, 3)):
        if step == 2:
            before = state_of(parts)
            if opened.layout.rank == guilty_rank:
                batches[-1]["poisoned"] = torch.ones(())
        result = step_at(parts, batches, step, 1e-2)
        assert bool(result.applied) == (step < 2)
        assert bool(result.non_finite) == (step == 2)
    return differing(before, state_of(parts))


def trained(name: str, folder: Path, is_validated: bool) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """(every tensor after 6 steps, rows of metrics.jsonl without their times)."""
    folder.mkdir()
    opened = open_small(name, folder, max_steps=6, log_every=1, evaluate_every=1)
    train(validation(opened) if is_validated else opened)
    rows = [
        {key: value for key, value in row.items() if not key.startswith("time/")}
        for row in opened.run_dir.read_metrics()
    ]
    return opened.objective.state_dict(), rows


def validated_twice(name: str, folder: Path, loop: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures of two validations of the same weights, in float64."""
    opened = validation(open_small(name, folder, **loop))
    monitor = opened.monitor
    assert monitor is not None
    opened.objective.double()
    for pipeline in (monitor.rows.pipeline, monitor.voters.pipeline):
        pipeline.augment = widened(pipeline.augment)
        pipeline.eval_transform = _in_float64(pipeline.eval_transform)
    return [monitor.validate(opened.accelerator, opened.objective, opened.layout, 0.5) for _ in range(2)]


def _in_float64(eval_transform: Any) -> Any:
    return lambda examples: {
        key: value.double() if value.is_floating_point() else value for key, value in eval_transform(examples).items()
    }


BAD_ROWS = (3, 7, 30)


class WithBadRows:
    """Examples of which `BAD_ROWS` cannot be used."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Any:
        if index in BAD_ROWS:
            raise BadRowError("is torn")
        return self._examples[index]


def table_of(
    name: str, folder: Path, loop: dict[str, Any], steps: range, num_workers: int = 0, bad_rows: bool = False
) -> list[list[Any]]:
    """[position, sample id, key, digest of everything drawn] of this rank's samples of `steps`, which begin anywhere."""
    opened = open_small(name, folder, **loop)
    if bad_rows:
        opened.rows.examples = WithBadRows(opened.rows.examples)
    layout = opened.layout
    stream = micro_batches(
        opened.rows, layout, start_step=steps.start, max_steps=steps.stop, num_workers=num_workers, pin_memory=False
    )
    table: list[list[Any]] = []
    for step in steps:
        for micro_batch in range(layout.num_micro_batches):
            batch = next(stream)
            del batch["bad_ids"]
            for row, position in enumerate(layout.positions(step, micro_batch).tolist()):
                known = int(batch["sample_ids"][row]), int(batch["keys"][row])
                table.append([position, *known, drawn_for(batch, row)])
    return sorted(table)
