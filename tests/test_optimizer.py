"""Which parameters decay, how the learning rate scales, and that clipping clips."""

from pathlib import Path

import pytest
import torch

from hfssl.config import OptimConfig
from hfssl.training.optimizer import build_optimizer, learning_rate, set_learning_rate
from hfssl.training.step import train_step
from tests.laboratory import open_small, ready, state_of, steps_of


def test_weight_decay_spares_norms_biases_and_tokens(tmp_path: Path) -> None:
    objective = open_small("mae", tmp_path).objective
    names = {id(parameter): name for name, parameter in objective.named_parameters()}
    decayed, spared = objective.param_groups(0.05)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.05, 0.0)
    assert all(names[id(p)].endswith("weight") and "norm" not in names[id(p)] for p in decayed["params"])
    kinds = ("bias", "layernorm_before.weight", "layernorm_after.weight", "norm.weight", "token")
    assert all(names[id(p)].endswith(kinds) for p in spared["params"])
    trainable = sum(p.requires_grad for p in objective.parameters())
    assert len(decayed["params"]) + len(spared["params"]) == trainable


def test_the_learning_rate_scales_with_the_batch_in_vision_alone() -> None:
    optim = OptimConfig(base_learning_rate=1e-3)
    assert learning_rate(optim, modality="image", global_batch_size=1024) == pytest.approx(4e-3)
    assert learning_rate(optim, modality="text", global_batch_size=1024) == 1e-3


def test_each_group_gets_its_scaled_rate(tmp_path: Path) -> None:
    optimizer = build_optimizer(open_small("mae", tmp_path).objective, OptimConfig())
    optimizer.param_groups[1]["lr_scale"] = 0.5
    assert set_learning_rate(optimizer, 2.0, warmup_fraction=0.2, progress=0.1) == pytest.approx(1.0)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1.0, 0.5])


def test_clipping_bounds_the_gradient_that_the_optimizer_sees(tmp_path: Path) -> None:
    norms = []
    for limit in (None, 1e-3):
        opened = open_small("mae", tmp_path)
        parts = ready(opened)
        parts.max_grad_norm = limit
        result = train_step(parts, steps_of(opened, 1)[0], step=0, progress=0.0, stop=False)
        first_moments = [value for name, value in state_of(parts).items() if name.endswith(".exp_avg")]
        joined = torch.cat([moment.flatten() for moment in first_moments])
        norms.append(float(joined.norm()) / (1 - 0.9))
        assert float(result.gradient_norm) > 1e-2  # what is logged is the norm before clipping
    assert norms[0] == pytest.approx(float(result.gradient_norm), rel=1e-4)
    assert norms[1] == pytest.approx(1e-3, rel=1e-3)
