"""The laws that every method obeys, found by name in hfssl/methods: a new method is tested without an edit here."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hfssl.checkpoints.exports import write_export
from hfssl.data.loader import micro_batches
from hfssl.nn.collapse import collapse_warnings
from hfssl.objective import BadRowError, Examples, StepOutput
from hfssl.run_dir import RunDir
from hfssl.runs import open_session as session
from hfssl.training.checkpoint import read_state, save
from hfssl.training.loop import train
from hfssl.training.start import Start
from hfssl.training.step import train_step
from tests.support.laboratory import (
    METHODS,
    differing,
    drawn_for,
    open_small,
    ready,
    record_gradients,
    relative_error,
    state_of,
    steps_of,
    validation,
    widened,
)
from tests.support.processes import in_processes

every_method = pytest.mark.parametrize("name", METHODS)
with_toy = pytest.mark.parametrize("name", [*METHODS, "toy"])
WITHOUT_BATCH_NORM = {"toy": {"batch_norm": False, "dropout": 0.0}}


def losses_of(name: str, folder: Path, num_steps: int, **loop: Any) -> list[float]:
    opened = open_small(name, folder, **loop)
    parts = ready(opened)
    losses = []
    for step, batches in enumerate(steps_of(opened, num_steps)):
        for group in parts.optimizer.param_groups:
            group["lr"] = 1e-3
        result = train_step(parts, batches, step=step, progress=step / num_steps, stop=False)
        losses.append(float(result.loss_sum / result.num_targets))
    return losses


@with_toy
def test_same_seed_same_losses_other_seed_other_losses(name: str, tmp_path: Path) -> None:
    first = losses_of(name, tmp_path, 3)
    assert first == losses_of(name, tmp_path, 3)
    assert first != losses_of(name, tmp_path, 3, seed=1)
    assert np.isfinite(first).all()


@with_toy
def test_every_trainable_parameter_and_no_frozen_one_gets_a_gradient(name: str, tmp_path: Path) -> None:
    opened = open_small(name, tmp_path)
    parts = ready(opened)
    gradients = record_gradients(parts.objective)
    train_step(parts, steps_of(opened, 1)[0], step=0, progress=0.0, stop=False)
    trainable = {key for key, parameter in parts.objective.named_parameters() if parameter.requires_grad}
    assert gradients.keys() == trainable
    assert all(bool(gradient.any()) for gradient in gradients.values())


@every_method
def test_overfits_one_batch_while_teacher_queue_and_centre_stand_still(name: str, tmp_path: Path) -> None:
    opened = open_small(name, tmp_path)
    parts = ready(opened)
    on_step_end = parts.objective.on_step_end
    parts.objective.on_step_end = lambda progress, applied: on_step_end(progress, torch.zeros_like(applied))
    with torch.no_grad():  # away from a teacher that it equals at first
        for parameter in parts.objective.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    batches = steps_of(opened, 1)[0]
    losses = []
    for step in range(60):
        for group in parts.optimizer.param_groups:
            group["lr"] = 3e-3
        result = train_step(parts, [dict(batch) for batch in batches], step=step, progress=0.0, stop=False)
        losses.append(float(result.loss_sum / result.num_targets))
    assert losses[-1] < 0.7 * losses[0]


def gradients_of(
    name: str, folder: Path, method: dict[str, Any], loop: dict[str, Any]
) -> tuple[float, dict[str, Tensor]]:
    """(loss, joint gradients) of the first global batch, in float64."""
    opened = open_small(name, folder, method=method, **loop)
    parts = ready(opened, torch.float64)
    gradients = record_gradients(parts.objective)
    result = train_step(parts, steps_of(opened, 1)[0], step=0, progress=0.0, stop=False)
    return float(result.loss_sum / result.num_targets), gradients


@with_toy
def test_accumulation_equals_one_big_batch_unless_batch_coupled(name: str, tmp_path: Path) -> None:
    method = WITHOUT_BATCH_NORM.get(name, {})
    coupled = open_small(name, tmp_path, method=method).objective.batch_coupled
    whole, pieces = (gradients_of(name, tmp_path, method, {"per_device_batch_size": size}) for size in (8, 2))
    equal = abs(whole[0] - pieces[0]) <= 1e-8 * abs(whole[0]) and relative_error(whole[1], pieces[1]) <= 1e-8
    assert equal != coupled


@with_toy
@pytest.mark.parametrize("per_device", [8, 2])
def test_the_gradient_is_that_of_the_mean_over_all_targets(name: str, per_device: int, tmp_path: Path) -> None:
    method = WITHOUT_BATCH_NORM.get(name, {})
    loss, gradients = gradients_of(name, tmp_path, method, {"per_device_batch_size": per_device})
    opened = open_small(name, tmp_path, method=method, per_device_batch_size=per_device)
    parts = ready(opened, torch.float64)
    outputs = [parts.objective(parts.augment(batch, 0.0), 0.0) for batch in steps_of(opened, 1)[0]]
    mean = sum(output.loss_sum for output in outputs) / sum(output.num_targets for output in outputs)
    mean.backward()
    expected = {key: p.grad for key, p in parts.objective.named_parameters() if p.grad is not None}
    assert loss == pytest.approx(float(mean.detach()), rel=1e-10)
    assert relative_error(expected, gradients) <= 1e-8


@with_toy
@pytest.mark.parametrize("per_device", [4, 2])
def test_two_processes_equal_one_with_the_joined_batch(name: str, per_device: int, tmp_path: Path) -> None:
    method = {"dropout": 0.0} if name == "toy" else {}
    if name == "toy" and per_device == 2:
        method = WITHOUT_BATCH_NORM["toy"]
    if per_device == 2 and open_small(name, tmp_path, method=method).objective.batch_coupled:
        per_device = 4
    alone = gradients_of(name, tmp_path, method, {"per_device_batch_size": 2 * per_device})
    for loss, gradients in in_processes(
        gradients_of, name, tmp_path, method, {"per_device_batch_size": per_device}, world_size=2
    ):
        assert abs(loss - alone[0]) <= 1e-8 * abs(alone[0])
        assert relative_error(alone[1], gradients) <= 1e-8


def tensors_after(name: str, folder: Path, num_steps: int, loop: dict[str, Any]) -> dict[str, Tensor]:
    opened = open_small(name, folder, **loop)
    parts = ready(opened)
    for step, batches in enumerate(steps_of(opened, num_steps)):
        for group in parts.optimizer.param_groups:
            group["lr"] = 1e-2
        train_step(parts, batches, step=step, progress=step / 8, stop=False)
    return state_of(parts)


@with_toy
def test_every_tensor_is_bitwise_equal_on_both_ranks(name: str, tmp_path: Path) -> None:
    first, second = in_processes(tensors_after, name, tmp_path, 4, {"per_device_batch_size": 2}, world_size=2)
    assert differing(first, second) == []


def poison(batches: list[dict[str, Tensor]]) -> None:
    """Make the augmented pixels of the last micro-batch not a number, whatever the modality's transform does."""
    batches[-1]["poisoned"] = torch.ones(())


def nan_step(name: str, folder: Path, loop: dict[str, Any], guilty_rank: int, precision: str) -> list[str]:
    """Names of tensors that a step with a NaN on one rank changed; after two good steps. For a process of its own."""
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16" if precision == "bf16" else "no"
    opened = open_small(name, folder, **loop)
    assert opened.accelerator.native_amp == (precision == "bf16")
    forward, is_poisoned = opened.objective.forward, []

    def poisoned_forward(batch: dict[str, Tensor], progress: float) -> StepOutput:
        output = forward(batch, progress)
        return output._replace(loss_sum=output.loss_sum * torch.nan) if is_poisoned else output

    opened.objective.forward = poisoned_forward
    parts = ready(opened)
    if precision == "scaler":  # that of fp16, which Accelerate itself gives to GPUs alone
        parts.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    augment = parts.augment

    def poisoned_augment(batch: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        if batch.pop("poisoned", None) is not None:
            is_poisoned.append(True)
        changed = augment(batch, progress)
        if is_poisoned:
            changed = {key: value * torch.nan if value.is_floating_point() else value for key, value in changed.items()}
        return changed

    parts.augment = poisoned_augment
    for step, batches in enumerate(steps_of(opened, 3)):
        for group in parts.optimizer.param_groups:
            group["lr"] = 1e-2
        if step == 2:
            before = state_of(parts)
            if opened.layout.rank == guilty_rank:
                poison(batches)
        result = train_step(parts, batches, step=step, progress=step / 8, stop=False)
        assert bool(result.applied) == (step < 2)
        assert bool(result.non_finite) == (step == 2)
    return differing(before, state_of(parts))


@with_toy
@pytest.mark.parametrize("precision", ["fp32", "bf16", "scaler"])
def test_a_nan_on_one_rank_leaves_every_tensor_bitwise_as_it_was_on_both(
    name: str, precision: str, tmp_path: Path
) -> None:
    loop = {"per_device_batch_size": 2}
    assert in_processes(nan_step, name, tmp_path, loop, 1, precision, world_size=2) == [[], []]
    assert in_processes(nan_step, name, tmp_path, loop, 0, precision) == [[]]


@with_toy
def test_a_rebuilt_session_goes_on_bitwise(name: str, tmp_path: Path) -> None:
    def steps(first: int, last: int, started: Start | None, save_at: int | None) -> dict[str, Tensor]:
        opened = open_small(name, tmp_path, started, per_device_batch_size=4)
        parts = ready(opened)
        for step, batches in enumerate(steps_of(opened, last)):
            if step < first:
                continue
            for group in parts.optimizer.param_groups:
                group["lr"] = 1e-2
            train_step(parts, batches, step=step, progress=step / 8, stop=False)
        if save_at is not None:
            opened.state.step = save_at
            save(parts.accelerator, RunDir(tmp_path), opened.state, keep=2)
        return state_of(parts)

    unbroken = steps(0, 6, None, None)
    steps(0, 3, None, save_at=3)
    resumed = steps(3, 6, Start(RunDir(tmp_path), read_state(RunDir(tmp_path), 3), []), None)
    assert differing(unbroken, resumed) == []


def trained(name: str, folder: Path, is_watched: bool) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """(every tensor after 6 steps, rows of metrics.jsonl without their times)."""
    folder.mkdir()
    opened = open_small(name, folder, max_steps=6, log_every=1, evaluate_every=1)
    train(validation(opened) if is_watched else opened)
    rows = [
        {key: value for key, value in row.items() if not key.startswith("time/")}
        for row in opened.run_dir.read_metrics()
    ]
    return opened.objective.state_dict(), rows


@with_toy
def test_watching_a_run_changes_no_tensor_and_no_figure_of_it(name: str, tmp_path: Path) -> None:
    alone, rows_alone = trained(name, tmp_path / "alone", False)
    watched_run, rows = trained(name, tmp_path / "watched", True)
    assert differing(alone, watched_run) == []
    assert [row for row in rows if "loss" in row] == rows_alone
    looks = [row for row in rows if "loss" not in row]
    assert [row["step"] for row in looks] == list(range(7))
    assert len({row["validation/loss"] for row in looks}) >= 6  # the first step of a warm-up moves nothing
    assert all(0 <= row["validation/knn"] <= 1 and row["validation/rank_me"] >= 1 for row in looks)


def in_float64(eval_transform: Any) -> Any:
    return lambda examples: {
        key: value.double() if value.is_floating_point() else value for key, value in eval_transform(examples).items()
    }


def looked(name: str, folder: Path, loop: dict[str, Any]) -> list[dict[str, Any]]:
    """Two looks at the same weights."""
    opened = validation(open_small(name, folder, **loop))
    opened.objective.double()
    for pipeline in (opened.monitor.rows.pipeline, opened.monitor.voters.pipeline):
        pipeline.augment = widened(pipeline.augment)
        pipeline.eval_transform = in_float64(pipeline.eval_transform)
    return [opened.monitor.validate(opened.accelerator, opened.objective, opened.layout, 0.5) for _ in range(2)]


@with_toy
def test_held_out_figures_do_not_depend_on_the_layout(name: str, tmp_path: Path) -> None:
    coupled = open_small(name, tmp_path).objective.batch_coupled and name != "toy"  # its BatchNorm is fixed here
    alone, again = looked(name, tmp_path, {"per_device_batch_size": 8})
    assert alone == again
    others = in_processes(looked, name, tmp_path, {"per_device_batch_size": 4}, world_size=2)
    if not coupled:
        others.append(looked(name, tmp_path, {"per_device_batch_size": 2}))
    for other, _ in others:
        assert other.keys() == alone.keys()
        assert all(other[key] == pytest.approx(alone[key], rel=1e-4) for key in alone)


class WithBadRows:
    """Examples of which rows 3, 7 and 30 can not be used."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Any:
        if index in (3, 7, 30):
            raise BadRowError("is torn")
        return self._examples[index]


def table_of(
    name: str, folder: Path, loop: dict[str, Any], start_step: int, num_workers: int, bad_rows: bool = False
) -> list[list[Any]]:
    """[position, sample id, key, digest of everything drawn] of this rank's samples of 12 steps, from `start_step` on."""
    opened = open_small(name, folder, **loop)
    if bad_rows:
        opened.rows.examples = WithBadRows(opened.rows.examples)
    layout = opened.layout
    stream = micro_batches(
        opened.rows, layout, start_step=start_step, max_steps=12, num_workers=num_workers, pin_memory=False
    )
    table: list[list[Any]] = []
    for step in range(start_step, 12):
        for micro_batch in range(layout.num_micro_batches):
            batch = next(stream)
            del batch["bad_ids"]
            for row, position in enumerate(layout.positions(step, micro_batch).tolist()):
                known = int(batch["sample_ids"][row]), int(batch["keys"][row])
                table.append([position, *known, drawn_for(batch, row)])
    return sorted(table)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@every_method
@pytest.mark.parametrize("bad_rows", [False, True])
def test_samples_and_draws_do_not_depend_on_workers_ranks_accumulation_or_resume(
    name: str, bad_rows: bool, tmp_path: Path
) -> None:
    reference = table_of(name, tmp_path, {}, 0, 0, bad_rows)
    assert [row[0] for row in reference] == list(range(96))
    assert ({3, 7, 30} & {row[1] for row in reference} == set()) == bad_rows
    for workers in (2,) if bad_rows else (2, 4):  # more workers than cores
        assert table_of(name, tmp_path, {"per_device_batch_size": 2}, 0, workers, bad_rows) == reference
    for per_device in (1,) if bad_rows else (4, 1):
        first, second = in_processes(
            table_of, name, tmp_path, {"per_device_batch_size": per_device}, 0, 0, bad_rows, world_size=2
        )
        assert sorted(first + second) == reference
    for start_step in range(12):
        assert table_of(name, tmp_path, {}, start_step, 0, bad_rows) == reference[8 * start_step :]


@every_method
def test_each_epoch_holds_every_sample_once_with_other_draws(name: str, tmp_path: Path) -> None:
    table, num_rows = table_of(name, tmp_path, {}, 0, 0), len(open_small(name, tmp_path).rows.examples)
    epochs = [sorted(table[start : start + num_rows], key=lambda row: row[1]) for start in (0, num_rows)]
    assert [[row[1] for row in epoch] for epoch in epochs] == [list(range(num_rows))] * 2
    assert all(one[2] != other[2] and one[3] != other[3] for one, other in zip(*epochs, strict=True))


@every_method
def test_training_state_and_export_share_no_storage(name: str, tmp_path: Path) -> None:
    objective = open_small(name, tmp_path).objective
    own = {tensor.untyped_storage().data_ptr() for tensor in objective.state_dict().values()}
    export = objective.export()
    for model in filter(None, (export.model, export.pretraining_model)):
        assert own.isdisjoint(tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values())


STRANGER = """
import json, sys
sys.modules["hfssl"] = None  # as if it were not installed
import torch
from transformers import AutoModel
answers = {}
for folder in json.loads(sys.argv[1]):
    model = AutoModel.from_pretrained(folder).eval()
    inputs = torch.load(folder + "/inputs.pt")
    with torch.no_grad():
        twice = [model(**inputs).last_hidden_state for _ in range(2)]
    assert torch.equal(*twice)
    hidden = twice[0]
    seen = inputs.get("attention_mask", torch.ones(hidden.shape[:2]))
    if seen.shape[1] != hidden.shape[1]:  # of samples
        seen = model._get_feature_vector_attention_mask(hidden.shape[1], seen)
    seen = seen[:, :, None]
    pooled = {"cls": hidden[:, 0], "mean": (hidden * seen).sum(1) / seen.sum(1), "mean_patches": hidden[:, 1:].mean(1)}
    torch.save(pooled[model.config.hfssl_pooling], folder + "/answer.pt")
"""


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Tensor]]:
    """Each method after a few steps: its export, read by one fresh process without hfssl, and its own features."""
    folders = {}
    for name in METHODS:
        folder = tmp_path_factory.mktemp(name)
        opened = open_small(name, folder)
        parts = ready(opened)
        for step, batches in enumerate(steps_of(opened, 3)):
            for group in parts.optimizer.param_groups:
                group["lr"] = 1e-3
            train_step(parts, batches, step=step, progress=step / 3, stop=False)
        write_export(parts.objective.eval().export(), folder / "export")
        samples = opened.rows.pipeline.whole_examples(session.OPENERS[opened.objective.modality](opened.run.data))
        batch = opened.rows.pipeline.eval_transform([samples[row] for row in range(6)])
        names = [key for key in ("pixel_values", "input_ids", "attention_mask", "input_values") if key in batch]
        torch.save({key: batch[key] for key in names}, folder / "export" / "inputs.pt")
        with torch.no_grad():
            folders[name] = (folder / "export", parts.objective.features(batch))
    listed = json.dumps([str(folder) for folder, _ in folders.values()])
    subprocess.run([sys.executable, "-c", STRANGER, listed], check=True, timeout=120, cwd=folder)
    return folders


@pytest.mark.versions
@every_method
def test_a_stranger_gets_the_same_features_from_the_export(name: str, exported: dict[str, tuple[Path, Tensor]]) -> None:
    folder, features = exported[name]
    answer = torch.load(folder / "answer.pt")
    assert float((answer - features).abs().max()) <= 1e-5
    assert float(features.std(dim=0).mean()) > 1e-3


@every_method
def test_constant_features_raise_the_collapse_alarm_and_healthy_ones_do_not(
    name: str, exported: dict[str, tuple[Path, Tensor]]
) -> None:
    features = exported[name][1]
    assert collapse_warnings(torch.ones_like(features)) != []
    assert collapse_warnings(features) == []


@every_method
def test_gradient_checkpointing_keeps_fewer_bytes_and_the_same_gradients(name: str, tmp_path: Path) -> None:
    from hfssl.training.rehearsal import rehearse

    kept = []
    for checkpointing in (False, True):
        opened = open_small(name, tmp_path, gradient_checkpointing=checkpointing)
        batch = steps_of(opened, 1)[0][0]
        kept.append(rehearse(opened.accelerator, opened.objective, opened.rows.pipeline.augment, batch).saved_bytes)
    assert kept[1] < 0.8 * kept[0]
    plain, recomputed = (gradients_of(name, tmp_path, {}, {"gradient_checkpointing": flag}) for flag in (False, True))
    assert relative_error(plain[1], recomputed[1]) <= 1e-12


@every_method
def test_the_compile_flag_compiles_and_changes_no_loss(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch._dynamo as dynamo

    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compile_module(module, backend="aot_eager"))
    plain = losses_of(name, tmp_path, 2, per_device_batch_size=8)
    dynamo.reset()
    dynamo.utils.counters.clear()
    assert losses_of(name, tmp_path, 2, per_device_batch_size=8, compile=True) == pytest.approx(plain, rel=1e-4)
    assert dynamo.utils.counters["frames"]["ok"] > 0


@every_method
def test_every_config_field_is_a_unique_flag_with_help(name: str) -> None:
    from hfssl.config.sections import LoopConfig, OptimConfig
    from tests.support.laboratory import catalog, classes

    config, objective = classes(name)
    sections = [config, catalog.DATA_CONFIGS[objective.modality], OptimConfig, LoopConfig]
    fields = [item for section in sections for item in dataclasses.fields(section)]
    assert len({item.name for item in fields}) == len(fields)
    assert all(item.metadata["help"] for item in fields)


@with_toy
def test_config_and_objective_are_of_one_modality(name: str) -> None:
    from tests.support.laboratory import classes

    config, objective = classes(name)
    assert config.modality == objective.modality
