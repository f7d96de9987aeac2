"""Which parameters decay, how the learning rate scales, that clipping clips, and LARS as in its paper."""

from pathlib import Path

import pytest
import torch
from torch import nn

from hfssl.catalog import config_of
from hfssl.config.parse import make_run, parse
from hfssl.config.sections import DataConfig, LoopConfig, MethodConfig, OptimConfig
from hfssl.data.audio.config import AudioDataConfig
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.texts.config import TextDataConfig
from hfssl.errors import ConfigError
from hfssl.methods.mae.config import MAEConfig
from hfssl.models.layer_decay import decayed_groups
from hfssl.objective import is_matrix
from hfssl.run_dir import RunDir
from hfssl.runs.context import RunContext
from hfssl.runs.open_session import open_session
from hfssl.tasks.image_classification.config import ImageClassificationConfig
from hfssl.training.accelerator import start
from hfssl.training.checkpoint import save
from hfssl.training.lars import LARS, MOMENTUM, TRUST_COEFFICIENT
from hfssl.training.loop import Session, train
from hfssl.training.optimizer import build_optimizer, peak_learning_rate, set_learning_rate, set_weight_decay
from hfssl.training.start import Start, read_state
from hfssl.training.step import train_step
from tests.support.laboratory import classes, differing, open_small, ready, state_of, steps_of, use_few_rows
from tests.support.ranks import Ranks


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


def test_a_matrix_may_have_one_row_and_a_token_is_none() -> None:
    matrices = [
        nn.Linear(8, 1).weight,
        nn.Linear(1, 8).weight,
        nn.Conv2d(6, 6, 3, groups=6).weight,
        torch.empty(1, 4, 8),
    ]
    others = [
        nn.Linear(8, 1).bias,
        nn.LayerNorm(8).weight,
        torch.empty(1, 1, 8),
        torch.empty(1, 1, 1, 8),
        torch.empty(()),
    ]
    assert all(map(is_matrix, matrices))
    assert not any(map(is_matrix, others))
    body = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(8, 8)]), "norm": nn.LayerNorm(8), "head": nn.Linear(8, 1)})
    for decay in (1.0, 0.5):
        groups = decayed_groups(body.named_parameters(), weight_decay=0.1, decay=decay)
        decayed = {id(member) for group in groups if group["weight_decay"] for member in group["params"]}
        assert decayed == {id(body["layers"][0].weight), id(body["head"].weight)}


def test_the_rate_stays_inside_the_momentum_of_lars() -> None:
    weight = nn.Parameter(torch.full((2, 2), 3.0, dtype=torch.float64))
    optimizer = LARS([weight], lr=0.0)
    expected, velocity = weight.detach().clone(), torch.zeros_like(weight)
    for rate in (1.0, 0.1, 0.0):
        weight.grad = torch.ones_like(weight)
        optimizer.param_groups[0]["lr"] = rate
        velocity = MOMENTUM * velocity + rate * TRUST_COEFFICIENT * expected.norm() / 2.0
        expected = expected - velocity
        optimizer.step()
        assert torch.allclose(weight.detach(), expected, rtol=1e-12)


def test_the_learning_rate_scales_with_the_batch_in_vision_alone() -> None:
    def peak(method: MethodConfig, data: DataConfig) -> float:
        loop = LoopConfig(global_batch_size=1024, max_steps=1)
        return peak_learning_rate(make_run(method, data, OptimConfig(base_learning_rate=1e-3), loop))

    for recipe in ("mae", "simclr"):
        assert peak(config_of(recipe).tiny(), ImageDataConfig.tiny()) == pytest.approx(4e-3)
    assert peak(config_of("mlm").tiny(), TextDataConfig.tiny()) == 1e-3
    assert peak(config_of("wav2vec2").tiny(), AudioDataConfig.tiny()) == 1e-3
    assert peak(ImageClassificationConfig(model="m"), ImageDataConfig.tiny()) == 1e-3


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


def test_weight_decay_is_constant_or_rises_along_a_cosine_on_matrices_alone(tmp_path: Path) -> None:
    objective = open_small("mae", tmp_path).objective
    decays = []
    for optim in (OptimConfig(weight_decay=0.04), OptimConfig(weight_decay=0.04, final_weight_decay=0.4)):
        optimizer = build_optimizer(objective, optim)
        for progress in (0.0, 0.5, 1.0):
            set_weight_decay(optimizer, optim, progress)
            matrices, others = (group["weight_decay"] for group in optimizer.param_groups)
            assert others == 0.0
            decays.append(matrices)
    assert decays == pytest.approx([0.04] * 4 + [0.22, 0.4])
    optimizer = build_optimizer(objective, OptimConfig(weight_decay=0.0, final_weight_decay=0.4))
    set_weight_decay(optimizer, OptimConfig(weight_decay=0.0, final_weight_decay=0.4), 1.0)
    assert [group["weight_decay"] for group in optimizer.param_groups] == pytest.approx([0.4, 0.0])


def lars_of_the_paper(
    weights: list[torch.Tensor], gradients: list[list[torch.Tensor]], rate: float, decay: float
) -> list[torch.Tensor]:
    results = []
    for index, weight in enumerate(weights):
        velocity = torch.zeros_like(weight)
        is_matrix = weight.squeeze().ndim > 1
        for step in gradients:
            change = step[index] + (decay * weight if is_matrix else 0.0)
            trust = 0.001 * float(weight.norm()) / float(change.norm()) if is_matrix else 1.0
            velocity = 0.9 * velocity + rate * trust * change
            weight = weight - velocity
        results.append(weight)
    return results


def matrices_and_vectors(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((4, 3), (5,), (2, 3, 1, 1), (1, 1, 6))
    ]


def test_lars_is_that_of_the_paper_and_leaves_vectors_unadapted() -> None:
    start_weights, gradients = matrices_and_vectors(0), [matrices_and_vectors(seed) for seed in (1, 2, 3)]
    parameters = [torch.nn.Parameter(weight.clone()) for weight in start_weights]
    matrices = [p for p in parameters if p.squeeze().ndim > 1]
    vectors = [p for p in parameters if p.squeeze().ndim <= 1]
    optimizer = LARS([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}], lr=0.3)
    for step in gradients:
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    for ours, papers in zip(parameters, lars_of_the_paper(start_weights, gradients, 0.3, 0.1), strict=True):
        assert torch.allclose(ours, papers, rtol=1e-12)


def test_lars_moves_a_matrix_of_zeros_and_survives_a_gradient_of_zeros() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    optimizer = LARS([parameter], lr=0.5)
    parameter.grad = torch.ones(2, 2)
    optimizer.step()
    assert torch.equal(parameter.detach(), torch.full((2, 2), -0.5))
    parameter.grad = torch.zeros(2, 2)
    optimizer.step()
    assert bool(parameter.isfinite().all())


def test_lars_obeys_found_inf_bit_for_bit() -> None:
    parameters = [torch.nn.Parameter(weight) for weight in matrices_and_vectors(0)]
    optimizer = LARS(parameters, lr=0.3)
    states = []
    for gradient, found_inf in ((1.0, 0.0), (torch.nan, 1.0), (1.0, 0.0)):
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, gradient)
        optimizer.found_inf = torch.tensor(found_inf)
        optimizer.step()
        states.append(
            [p.detach().clone() for p in parameters] + [s["velocity"].clone() for s in optimizer.state.values()]
        )
    assert all(torch.equal(before, after) for before, after in zip(states[0], states[1], strict=True))
    assert not any(torch.equal(before, after) for before, after in zip(states[1], states[2], strict=True))


def open_with(optim: OptimConfig, folder: Path, started: Start | None = None) -> Session:
    use_few_rows()
    config, objective = classes("toy")
    loop = {"output_dir": str(folder), "max_steps": 8, "global_batch_size": 8, "save_every": 100, "cpu_threads": 1}
    run = make_run(config.tiny(), ImageDataConfig.tiny(), optim, LoopConfig(**loop))
    return open_session(RunContext(objective, run, None, start(run.loop)), started or Start(RunDir(folder), None, []))[
        0
    ]


LARS_WITH_DECAY = OptimConfig(optimizer="lars", base_learning_rate=20.0, weight_decay=0.04, final_weight_decay=0.4)


def test_lars_resumes_bitwise_from_what_accelerate_saves(tmp_path: Path) -> None:
    def steps(first: int, last: int, started: Start | None, save_at: int | None) -> dict[str, torch.Tensor]:
        opened = open_with(LARS_WITH_DECAY, tmp_path, started)
        parts = ready(opened)
        for step, batches in enumerate(steps_of(opened, last)):
            if step >= first:
                set_learning_rate(parts.optimizer, 2.0, 0.1, step / 8)
                set_weight_decay(parts.optimizer, LARS_WITH_DECAY, step / 8)
                train_step(parts, batches, step=step, progress=step / 8, stop=False)
        if save_at is not None:
            opened.state.step = save_at
            save(parts.accelerator, RunDir(tmp_path), opened.state, keep=2)
        return state_of(parts)

    unbroken = steps(0, 6, None, None)
    steps(0, 3, None, save_at=3)
    resumed = steps(3, 6, Start(RunDir(tmp_path), read_state(RunDir(tmp_path), 3), []), None)
    assert any(name.endswith("velocity") for name in unbroken)
    assert differing(unbroken, resumed) == []


def lars_step_with_nan(folder: Path) -> list[str]:
    """Names of tensors that a step with a NaN on rank 1 changed on this rank, after two good steps."""
    opened = open_with(LARS_WITH_DECAY, folder)
    parts = ready(opened)
    before: dict[str, torch.Tensor] = {}
    for step, batches in enumerate(steps_of(opened, 3)):
        set_learning_rate(parts.optimizer, 2.0, 0.0, 0.0)
        if step == 2:
            before = state_of(parts)
            if opened.layout.rank == opened.layout.world_size - 1:
                parts.augment = lambda batch, progress: (
                    batch | {"pixel_values": torch.full((8 // opened.layout.world_size, 3, 8, 8), torch.nan)}
                )
        result = train_step(parts, batches, step=step, progress=step / 8, stop=False)
        assert bool(result.applied) == (step < 2)
    return differing(before, state_of(parts))


def test_a_nan_on_one_rank_leaves_weights_and_velocity_of_lars_bitwise(tmp_path: Path, ranks: Ranks) -> None:
    assert ranks.two(lars_step_with_nan, tmp_path) == [[], []]


def test_a_run_with_lars_trains_and_ends_with_the_final_weight_decay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decays: list[float] = []
    monkeypatch.setattr(
        "hfssl.training.loop.set_weight_decay", lambda *given: decays.append(set_weight_decay(*given)) or decays[-1]
    )
    opened = open_with(LARS_WITH_DECAY, tmp_path)
    train(opened)
    assert decays[0] == pytest.approx(0.04)
    assert decays == sorted(decays)
    assert decays[-1] > 0.35
    losses = [row["loss"] for row in opened.run_dir.read_metrics() if "loss" in row]
    assert all(loss == loss for loss in losses)


def test_betas_have_no_effect_with_lars() -> None:
    for name in ("adam_beta1", "adam_beta2"):
        with pytest.raises(ConfigError, match=f"--{name} has no effect with --optimizer lars: leave it out"):
            parse(MAEConfig, ImageDataConfig, ["--optimizer", "lars", f"--{name}", "0.95"])
    assert parse(MAEConfig, ImageDataConfig, ["--optimizer", "lars"]).optim.optimizer == "lars"
    with pytest.raises(ConfigError, match="adam_beta2 has no effect"):
        make_run(
            MAEConfig.tiny(),
            ImageDataConfig.tiny(),
            OptimConfig(optimizer="lars", adam_beta2=0.5),
            LoopConfig(max_steps=1),
        )
    with pytest.raises(ConfigError, match="final_weight_decay must be at least 0"):
        OptimConfig(final_weight_decay=-0.1)
