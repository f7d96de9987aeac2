"""AdamW over an objective's parameter groups, and the learning rate as a function of progress."""

import torch

from hfssl.config import OptimConfig
from hfssl.objective import Objective
from hfssl.schedules import warmup_cosine

VISION_REFERENCE_BATCH = 256


def learning_rate(optim: OptimConfig, *, modality: str, global_batch_size: int) -> float:
    """The peak: base * global batch / 256 for vision (Goyal et al. 2017, section 2.1), base as it is elsewhere."""
    scale = global_batch_size / VISION_REFERENCE_BATCH if modality == "image" else 1.0
    return optim.base_learning_rate * scale


def build_optimizer(objective: Objective, optim: OptimConfig) -> torch.optim.AdamW:
    """Fused AdamW: the only one that skips a non-finite step on the device, told by its `found_inf`.

    A group may carry `lr_scale`, a factor on the learning rate (1 by default).
    """
    groups = objective.param_groups(optim.weight_decay)
    for group in groups:
        group.setdefault("lr_scale", 1.0)
    return torch.optim.AdamW(groups, lr=0.0, betas=(optim.adam_beta1, optim.adam_beta2), fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, peak: float, warmup_fraction: float, progress: float) -> float:
    """Give each group its learning rate at `progress`; returns that of a group with scale 1."""
    rate = peak * warmup_cosine(progress, warmup_fraction)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
    return rate
