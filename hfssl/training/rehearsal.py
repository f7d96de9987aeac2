"""One micro-batch before the run: is every trainable parameter used, how many targets are there, what will it cost?"""

import math
import time
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from hfssl.distributed import all_reduce_sum
from hfssl.objective import Batch, Objective
from hfssl.training.checkpoint import TrainingError
from hfssl.training.step import Augment


class Rehearsal(NamedTuple):
    """What one micro-batch takes.

    num_targets: averaged over ranks; seconds: forward and backward; saved_bytes: activations kept for the backward.
    """

    num_targets: float
    seconds: float
    saved_bytes: int


def rehearse(accelerator: Accelerator, objective: Objective, augment: Augment, batch: Batch) -> Rehearsal:
    """Forward and backward on `batch`, leaving every parameter and buffer as it was.

    Raises:
        TrainingError: names the trainable parameters without a gradient, on which DDP would fail at the second step.
    """
    buffers = [(buffer, buffer.clone()) for buffer in objective.buffers()]
    saved: dict[int, int] = {}
    parameters = {p.untyped_storage().data_ptr() for p in objective.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    start = time.perf_counter()
    with torch.no_grad():
        augmented = augment(batch, 0.0)
    with torch.autograd.graph.saved_tensors_hooks(note, _unchanged), accelerator.autocast():
        output = objective(augmented, 0.0)
    (output.loss_sum / output.num_targets.clamp(min=1)).backward()
    joined = all_reduce_sum(output.num_targets.double())
    seconds = time.perf_counter() - start
    unused = [name for name, p in objective.named_parameters() if p.requires_grad and p.grad is None]
    for parameter in objective.parameters():
        parameter.grad = None
    objective.on_step_end(0.0, torch.zeros((), dtype=torch.bool, device=output.loss_sum.device))
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    if unused:
        raise TrainingError(f"trainable parameters get no gradient: {', '.join(unused[:5])}; freeze or remove them")
    return Rehearsal(float(joined) / accelerator.num_processes, seconds, sum(saved.values()))


def loss_scale_for(num_targets: float) -> float:
    """The power of two nearest to 1 / num_targets."""
    return 2.0 ** -round(math.log2(max(1.0, num_targets)))


def estimated_bytes(objective: Objective, saved_bytes: int) -> int:
    """Weights, gradients and two AdamW moments in float32, and the activations that the backward pass needs."""
    all_parameters = sum(p.numel() for p in objective.parameters())
    trainable = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    return 4 * all_parameters + 12 * trainable + saved_bytes


def _unchanged(tensor: Any) -> Any:
    return tensor
