"""One optimizer step on one global batch, with the same result however it is cut and shared over ranks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hfssl.distributed import all_reduce_sum, rank, world_size
from hfssl.objective import Batch, Objective
from hfssl.randomness import combine, stream_id

Augment = Callable[[Batch, float], Batch]


@dataclass
class StepContext:
    """What a step works on.

    model: `objective`, wrapped by Accelerate; the two share all tensors.
    optimizer: the bare optimizer; it skips a step when its `found_inf` is 1.
    loss_scale: a power of two near 1 / targets of a global batch, divided out again; bare sums overflow fp16.
    """

    accelerator: Accelerator
    model: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    augment: Augment
    seed: int
    max_grad_norm: float | None
    loss_scale: float


class StepResult(NamedTuple):
    """Joined over ranks and micro-batches, on the device: nothing here waits for it.

    loss_sum, num_targets, gradient_norm: 0-d float64; metrics: means.
    applied: 0-d bool, false if the step was skipped.
    non_finite: 0-d bool, a skip that counts; the fp16 scaler's own search for a scale does not.
    stop: 0-d bool, a rank was asked to stop.
    finite_micro_batches: this rank's micro-batches, one 0-d bool each, for naming the guilty one.
    """

    loss_sum: Tensor
    num_targets: Tensor
    gradient_norm: Tensor
    metrics: dict[str, Tensor]
    applied: Tensor
    non_finite: Tensor
    stop: Tensor
    finite_micro_batches: list[Tensor]


def train_step(parts: StepContext, batches: Sequence[Batch], *, step: int, progress: float, stop: bool) -> StepResult:
    """Forward and backward of each micro-batch, one joint scaling of the gradients, then the optimizer.

    Args:
        batches: this rank's micro-batches, on the device, not yet augmented; as many on every rank.
        stop: this rank was asked to stop.
    """
    batch_norm = [(buffer, buffer.clone()) for buffer in _batch_norm_buffers(parts.objective)]
    sums, metrics, finite = _accumulate(parts, batches, step, progress)
    reduced = all_reduce_sum(torch.stack([*sums, torch.full_like(sums[0], float(stop)), *metrics.values()]))
    loss_sum, num_targets, stop_sum = reduced[:3]
    shares = reduced[3:] / (world_size() * len(batches))
    _scale_gradients(parts, num_targets)
    parts.objective.on_gradients_ready(progress)
    gradients = [p.grad for p in parts.objective.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if parts.max_grad_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parts.objective.parameters(), parts.max_grad_norm, norm)
    finite_loss = loss_sum.isfinite()
    finite_step = finite_loss & norm.isfinite()
    applied = finite_step & (num_targets > 0)
    searching = _apply(parts, applied)
    for buffer, before in batch_norm:
        buffer.copy_(torch.where(applied, buffer, before))
    parts.objective.on_step_end(progress, applied)
    return StepResult(
        loss_sum=loss_sum,
        num_targets=num_targets,
        gradient_norm=norm.double(),
        metrics=dict(zip(metrics, shares.unbind(), strict=True)),
        applied=applied,
        non_finite=~finite_loss | (~finite_step & ~searching),
        stop=stop_sum > 0,
        finite_micro_batches=finite,
    )


def _accumulate(
    parts: StepContext, batches: Sequence[Batch], step: int, progress: float
) -> tuple[list[Tensor], dict[str, Tensor], list[Tensor]]:
    """([loss_sum, num_targets], metric sums, finite losses) of this rank, float64; gradients lie in the parameters."""
    loss_sums, target_sums, finite = [], [], []
    metrics: dict[str, Tensor] = {}
    for index, batch in enumerate(batches):
        seed_model(parts.accelerator.device, parts.seed, step, index, rank())
        with torch.no_grad():
            augmented = parts.augment(batch, progress)
        is_last = index == len(batches) - 1
        with _synchronised(parts, is_last):
            output = parts.model(augmented, progress)
            parts.accelerator.backward(output.loss_sum * parts.loss_scale)
        loss_sums.append(output.loss_sum.detach().double())
        target_sums.append(output.num_targets.detach().double())
        finite.append(loss_sums[-1].isfinite())
        for name, value in output.metrics.items():
            metrics[name] = metrics.get(name, torch.zeros_like(loss_sums[-1])) + value.detach().double()
    return [torch.stack(loss_sums).sum(), torch.stack(target_sums).sum()], metrics, finite


def _synchronised(parts: StepContext, is_last: bool) -> AbstractContextManager[None]:
    if is_last:
        return nullcontext()
    waiting: AbstractContextManager[None] = parts.accelerator.no_sync(parts.model)
    return waiting


def _scale_gradients(parts: StepContext, num_targets: Tensor) -> None:
    """From sums scaled by `loss_scale` and averaged over ranks to the gradient of the mean over all targets."""
    if parts.accelerator.scaler is not None:
        parts.accelerator.scaler.unscale_(parts.optimizer)
    gradients = [p.grad for p in parts.objective.parameters() if p.grad is not None]
    targets = torch.where(num_targets > 0, num_targets, 1.0)  # weighted ones may sum to less than 1
    factor = world_size() / (parts.loss_scale * targets)
    torch._foreach_mul_(gradients, factor.to(gradients[0].dtype))


def _apply(parts: StepContext, applied: Tensor) -> Tensor:
    """Step the optimizer where `applied`.

    Returns a 0-d bool: the fp16 scaler is on and may still find a scale, so that a non-finite gradient is part of its
    search; below a scale of 1 it is not.
    """
    parts.optimizer.found_inf = (~applied).to(torch.float32)  # type: ignore[attr-defined]
    parts.optimizer.grad_scale = None  # type: ignore[attr-defined]
    parts.optimizer.step()
    parts.optimizer.zero_grad(set_to_none=True)
    scaler = parts.accelerator.scaler
    if scaler is None:
        return torch.zeros_like(applied)
    scaler.update()
    return scaler._get_scale_async() >= 1.0  # get_scale() would wait for the device


def _batch_norm_buffers(objective: Objective) -> Iterator[Tensor]:
    for module in objective.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            yield from module.buffers(recurse=False)


def seed_model(device: torch.device, seed: int, step: int, micro_batch: int, process: int) -> None:
    """Dropout and the like: reseeded each micro-batch, so that there is no random state to save."""
    key = combine(seed, stream_id("model"), step, micro_batch, process)
    torch.default_generator.manual_seed(key)
    if device.type == "cuda":
        torch.cuda.manual_seed(key)
