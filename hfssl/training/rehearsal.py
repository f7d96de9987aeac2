"""One micro-batch before the run: is every trainable parameter used, how many targets are there, what will it cost?"""

import math
import time
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from hfssl.distributed import all_reduce_sum
from hfssl.errors import TrainingError
from hfssl.objective import Batch, Objective
from hfssl.training.step import Augment


class Rehearsal(NamedTuple):
    """What one micro-batch takes.

    num_targets: averaged over ranks; seconds: forward and backward; saved_bytes: activations kept for the backward.
    """

    num_targets: float
    seconds: float
    saved_bytes: int


def rehearse(accelerator: Accelerator, objective: Objective, augment: Augment, batch: Batch) -> Rehearsal:
    """Forward and backward on `batch`, twice, leaving every parameter and buffer as it was.

    Raises:
        TrainingError: names the trainable parameters without a gradient, on which DDP would fail at the second step.
    """
    buffers = [(buffer, buffer.clone()) for buffer in objective.buffers()]
    num_targets, saved_bytes = _forward_backward(accelerator, objective, augment, batch)
    unused = [name for name, p in objective.named_parameters() if p.requires_grad and p.grad is None]
    start = time.perf_counter()  # the first pass also pays for what is set up once
    _forward_backward(accelerator, objective, augment, batch)
    joined = float(all_reduce_sum(num_targets))
    seconds = time.perf_counter() - start
    for parameter in objective.parameters():
        parameter.grad = None
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    if unused:
        raise TrainingError(f"trainable parameters get no gradient: {', '.join(unused[:5])}; freeze or remove them")
    return Rehearsal(joined / accelerator.num_processes, seconds, saved_bytes)


def _forward_backward(
    accelerator: Accelerator, objective: Objective, augment: Augment, batch: Batch
) -> tuple[Tensor, int]:
    """(number of targets, bytes kept for the backward pass)."""
    parameters = {p.untyped_storage().data_ptr() for p in objective.parameters()}
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.no_grad():
        augmented = augment(dict(batch), 0.0)
    with torch.autograd.graph.saved_tensors_hooks(note, _unchanged), accelerator.autocast():
        output = objective(augmented, 0.0)
    (output.loss_sum / output.num_targets.clamp(min=1)).backward()
    objective.on_step_end(0.0, torch.zeros((), dtype=torch.bool, device=output.loss_sum.device))
    return output.num_targets.detach().double(), sum(saved.values())


def loss_scale_for(num_targets: float) -> float:
    """The power of two nearest to 1 / num_targets."""
    return 2.0 ** -round(math.log2(max(1.0, num_targets)))


def estimated_bytes(objective: Objective, saved_bytes: int, num_moments: int) -> int:
    """Weights, gradients and the optimizer's moments in float32, and the activations that the backward pass needs."""
    all_parameters = sum(p.numel() for p in objective.parameters())
    trainable = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    return 4 * all_parameters + 4 * (1 + num_moments) * trainable + saved_bytes


def _unchanged(tensor: Any) -> Any:
    return tensor
