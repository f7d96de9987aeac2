"""AdamW or LARS over an objective's parameter groups; learning rate and weight decay as functions of progress."""

import torch

from hfssl.config.run_config import RunConfig
from hfssl.config.sections import OptimConfig
from hfssl.nn.schedules import cosine, warmup_cosine
from hfssl.objective import Objective
from hfssl.run_dir import Json
from hfssl.training.lars import LARS

NUM_MOMENTS = {"adamw": 2, "lars": 1}


def peak_learning_rate(run: RunConfig) -> float:
    """Base * global batch / reference batch of the method (Goyal et al. 2017, section 2.1); the base where it names none."""
    reference = run.method.reference_batch
    rate: float = run.optim.base_learning_rate * (1.0 if reference is None else run.loop.global_batch_size / reference)
    return rate


def build_optimizer(objective: Objective, optim: OptimConfig) -> torch.optim.Optimizer:
    """Fused AdamW or LARS: those that skip a non-finite step on the device, told by their `found_inf`.

    A group may carry `lr_scale`, a factor on the learning rate (1 by default). It gets `decay_scale`, its weight decay where
    the run's is 1.
    """
    groups: list[Json] = [
        {"lr_scale": 1.0, **group, "decay_scale": group["weight_decay"]} for group in objective.param_groups(1.0)
    ]
    optimizer: torch.optim.Optimizer
    if optim.optimizer == "lars":
        optimizer = LARS(groups, lr=0.0)
    else:
        optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(optim.adam_beta1, optim.adam_beta2), fused=True)
    set_weight_decay(optimizer, optim, progress=0.0)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, peak: float, warmup_fraction: float, progress: float) -> float:
    """Give each group its learning rate at `progress`; returns that of a group with scale 1."""
    rate = peak * warmup_cosine(progress, warmup_fraction)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
    return rate


def set_weight_decay(optimizer: torch.optim.Optimizer, optim: OptimConfig, progress: float) -> float:
    """Give each group its weight decay at `progress`: constant, or along half a cosine to the final one (Caron et al. 2021,
    section 3.3); returns that of a group with scale 1."""
    final = optim.final_weight_decay
    decay = optim.weight_decay if final is None else cosine(progress, optim.weight_decay, final)
    for group in optimizer.param_groups:
        group["weight_decay"] = decay * group["decay_scale"]
    return decay
