"""Exponential moving average of one module by another: teachers, targets, key encoders."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def update_ema(teacher: nn.Module, student: nn.Module, momentum: float, applied: Tensor) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * student, parameter by parameter, where `applied`; in place.

    Args:
        teacher, student: modules of the same structure that share no storage.
        momentum: share of the old teacher that stays.
        applied: 0-d bool on the parameters' device; where it is false the teacher stays bit for bit.
    """
    teachers: list[Tensor] = list(teacher.parameters())
    students: list[Tensor] = list(student.parameters())
    averaged = torch._foreach_lerp(teachers, students, 1.0 - momentum)
    for old, new in zip(teachers, averaged, strict=True):
        old.copy_(torch.where(applied, new, old))
