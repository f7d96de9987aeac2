"""The laws that every method obeys, found by name in hfssl/methods: a new method is tested without an edit here.

`pytest tests/contract.py --method simclr` runs those of one method.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hfssl import catalog
from hfssl.checkpoints.exports import write_export
from hfssl.config.sections import LoopConfig, OptimConfig
from hfssl.nn.collapse import collapse_warnings
from hfssl.run_dir import RunDir
from hfssl.runs import open_session as session
from hfssl.training.checkpoint import read_state, save
from hfssl.training.rehearsal import rehearse
from hfssl.training.start import Start
from tests.support.contract_runs import (
    BAD_ROWS,
    changed_by_nan,
    gradients_here,
    gradients_of,
    is_coupled,
    losses_of,
    step_at,
    table_of,
    tensors_after,
    trained,
    validated_twice,
)
from tests.support.interpreter import Interpreter
from tests.support.laboratory import (
    METHODS,
    classes,
    differing,
    open_small,
    ready,
    record_gradients,
    relative_error,
    state_of,
    steps_of,
)
from tests.support.ranks import Ranks

WITHOUT_BATCH_NORM = {"toy": {"batch_norm": False, "dropout": 0.0}}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a law for each method that --method names, or for all; `method_or_toy` also takes the toy objective."""
    for fixture, names in (("method", METHODS), ("method_or_toy", [*METHODS, "toy"])):
        if fixture in metafunc.fixturenames:
            chosen = metafunc.config.getoption("--method") or names
            metafunc.parametrize(fixture, [name for name in names if name in chosen])


def test_same_seed_same_losses_other_seed_other_losses(method_or_toy: str, tmp_path: Path) -> None:
    first = losses_of(method_or_toy, tmp_path, 3)
    assert first == losses_of(method_or_toy, tmp_path, 3)
    assert first != losses_of(method_or_toy, tmp_path, 3, seed=1)
    assert np.isfinite(first).all()


def test_every_trainable_parameter_and_no_frozen_one_gets_a_gradient(method_or_toy: str, tmp_path: Path) -> None:
    opened = open_small(method_or_toy, tmp_path)
    parts = ready(opened)
    gradients = record_gradients(parts.objective)
    step_at(parts, steps_of(opened, 1)[0], 0, 1e-3)
    trainable = {key for key, parameter in parts.objective.named_parameters() if parameter.requires_grad}
    assert gradients.keys() == trainable
    assert all(bool(gradient.any()) for gradient in gradients.values())


def test_overfits_one_batch_while_teacher_queue_and_centre_stand_still(method: str, tmp_path: Path) -> None:
    opened = open_small(method, tmp_path)
    parts = ready(opened)
    on_step_end = parts.objective.on_step_end
    parts.objective.on_step_end = lambda progress, applied: on_step_end(progress, torch.zeros_like(applied))
    with torch.no_grad():  # away from a teacher that it equals at first
        for parameter in parts.objective.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    batches = steps_of(opened, 1)[0]
    results = [step_at(parts, [dict(batch) for batch in batches], 0, 3e-3) for _ in range(60)]
    losses = [float(result.loss_sum / result.num_targets) for result in results]
    assert losses[-1] < 0.7 * losses[0]


def test_accumulation_equals_one_big_batch_unless_batch_coupled(method_or_toy: str) -> None:
    changed = WITHOUT_BATCH_NORM.get(method_or_toy, {})
    whole, pieces = (gradients_here(method_or_toy, size, **changed) for size in (8, 2))
    equal = abs(whole[0] - pieces[0]) <= 1e-8 * abs(whole[0]) and relative_error(whole[1], pieces[1]) <= 1e-8
    assert equal != is_coupled(method_or_toy, **changed)


@pytest.mark.parametrize("per_device", [8, 2])
def test_the_gradient_is_that_of_the_mean_over_all_targets(method_or_toy: str, per_device: int, tmp_path: Path) -> None:
    changed = WITHOUT_BATCH_NORM.get(method_or_toy, {})
    loss, gradients = gradients_here(method_or_toy, per_device, **changed)
    opened = open_small(method_or_toy, tmp_path, method=changed, per_device_batch_size=per_device)
    parts = ready(opened, torch.float64)
    outputs = [parts.objective(parts.augment(batch, 0.0), 0.0) for batch in steps_of(opened, 1)[0]]
    mean = sum(output.loss_sum for output in outputs) / sum(output.num_targets for output in outputs)
    mean.backward()
    expected = {key: p.grad for key, p in parts.objective.named_parameters() if p.grad is not None}
    assert loss == pytest.approx(float(mean.detach()), rel=1e-10)
    assert relative_error(expected, gradients) <= 1e-8


@pytest.mark.parametrize("per_device", [4, 2])
def test_two_processes_equal_one_with_the_joined_batch(method_or_toy: str, per_device: int, ranks: Ranks) -> None:
    changed = {"dropout": 0.0} if method_or_toy == "toy" else {}
    if per_device == 2:
        changed = WITHOUT_BATCH_NORM.get(method_or_toy, {})
        if is_coupled(method_or_toy, **changed):
            per_device = 4
    alone = gradients_here(method_or_toy, 2 * per_device, **changed)
    for loss, gradients in ranks.two(gradients_of, method_or_toy, changed, {"per_device_batch_size": per_device}):
        assert abs(loss - alone[0]) <= 1e-8 * abs(alone[0])
        assert relative_error(alone[1], gradients) <= 1e-8


def test_every_tensor_is_bitwise_equal_on_both_ranks(method_or_toy: str, tmp_path: Path, ranks: Ranks) -> None:
    first, second = ranks.two(tensors_after, method_or_toy, tmp_path, 4, {"per_device_batch_size": 2})
    assert differing(first, second) == []


@pytest.mark.parametrize("precision", ["fp32", "bf16", "scaler"])
def test_a_nan_on_one_rank_leaves_every_tensor_bitwise_as_it_was_on_both(
    method_or_toy: str, precision: str, tmp_path: Path, ranks: Ranks
) -> None:
    loop = {"per_device_batch_size": 2}
    assert ranks.two(changed_by_nan, method_or_toy, tmp_path, loop, 1, precision) == [[], []]
    assert ranks.one(changed_by_nan, method_or_toy, tmp_path, loop, 0, precision) == []


def test_a_rebuilt_session_continues_bitwise(method_or_toy: str, tmp_path: Path) -> None:
    def steps(first: int, last: int, started: Start | None, save_at: int | None) -> dict[str, Tensor]:
        opened = open_small(method_or_toy, tmp_path, started, per_device_batch_size=4)
        parts = ready(opened)
        for step, batches in enumerate(steps_of(opened, last)):
            if step >= first:
                step_at(parts, batches, step, 1e-2)
        if save_at is not None:
            opened.state.step = save_at
            save(parts.accelerator, RunDir(tmp_path), opened.state, keep=2)
        return state_of(parts)

    unbroken = steps(0, 6, None, None)
    steps(0, 3, None, save_at=3)
    resumed = steps(3, 6, Start(RunDir(tmp_path), read_state(RunDir(tmp_path), 3), []), None)
    assert differing(unbroken, resumed) == []


def test_validation_changes_no_tensor_and_no_figure_of_a_run(method_or_toy: str, tmp_path: Path) -> None:
    plain, plain_rows = trained(method_or_toy, tmp_path / "plain", False)
    validated, rows = trained(method_or_toy, tmp_path / "validated", True)
    assert differing(plain, validated) == []
    assert [row for row in rows if "loss" in row] == plain_rows
    figures = [row for row in rows if "loss" not in row]
    assert [row["step"] for row in figures] == list(range(7))
    assert len({row["validation/loss"] for row in figures}) >= 6  # the first step of a warm-up moves nothing
    assert all(0 <= row["validation/knn"] <= 1 and row["validation/rank_me"] >= 1 for row in figures)


def test_validation_figures_do_not_depend_on_the_layout(method_or_toy: str, tmp_path: Path, ranks: Ranks) -> None:
    coupled = method_or_toy != "toy" and is_coupled(method_or_toy)  # the toy's BatchNorm is fixed here
    once, again = validated_twice(method_or_toy, tmp_path, {"per_device_batch_size": 8})
    assert once == again
    others = ranks.two(validated_twice, method_or_toy, tmp_path, {"per_device_batch_size": 4})
    if not coupled:
        others.append(validated_twice(method_or_toy, tmp_path, {"per_device_batch_size": 2}))
    for other, _ in others:
        assert other.keys() == once.keys()
        assert all(other[key] == pytest.approx(once[key], rel=1e-4) for key in once)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("bad_rows", [False, True])
def test_samples_and_draws_do_not_depend_on_workers_ranks_accumulation_or_resume(
    method: str, bad_rows: bool, tmp_path: Path, ranks: Ranks
) -> None:
    all_steps = range(12)
    reference = table_of(method, tmp_path, {}, all_steps, 0, bad_rows)
    assert [row[0] for row in reference] == list(range(96))
    assert (set(BAD_ROWS) & {row[1] for row in reference} == set()) == bad_rows
    for workers in (2,) if bad_rows else (2, 4):  # more workers than cores
        assert table_of(method, tmp_path, {"per_device_batch_size": 2}, all_steps, workers, bad_rows) == reference
    for per_device in (1,) if bad_rows else (4, 1):
        loop = {"per_device_batch_size": per_device}
        first, second = ranks.two(table_of, method, tmp_path, loop, all_steps, 0, bad_rows)
        assert sorted(first + second) == reference
    for steps in (range(5, 12), *(range(step, step + 1) for step in all_steps)):  # resumed in each
        found = table_of(method, tmp_path, {}, steps, 0, bad_rows)
        assert found == reference[8 * steps.start : 8 * steps.stop]


def test_each_epoch_holds_every_sample_once_with_other_draws(method: str, tmp_path: Path) -> None:
    table, num_rows = table_of(method, tmp_path, {}, range(12)), len(open_small(method, tmp_path).rows.examples)
    epochs = [sorted(table[start : start + num_rows], key=lambda row: row[1]) for start in (0, num_rows)]
    assert [[row[1] for row in epoch] for epoch in epochs] == [list(range(num_rows))] * 2
    assert all(one[2] != other[2] and one[3] != other[3] for one, other in zip(*epochs, strict=True))


def test_training_state_and_export_share_no_storage(method: str, tmp_path: Path) -> None:
    objective = open_small(method, tmp_path).objective
    own = {tensor.untyped_storage().data_ptr() for tensor in objective.state_dict().values()}
    export = objective.export()
    for model in filter(None, (export.model, export.pretraining_model)):
        assert own.isdisjoint(tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values())


READ_EXPORT = """
import torch
from transformers import AutoModel
folder = arguments[0]
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


def exported(method: str, folder: Path) -> Tensor:
    """The features of six rows after a few steps; the export and the inputs of these rows go into `folder`."""
    opened = open_small(method, folder)
    parts = ready(opened)
    for step, batches in enumerate(steps_of(opened, 3)):
        step_at(parts, batches, step, 1e-3, 3)
    write_export(parts.objective.eval().export(), folder / "export")
    samples = opened.rows.pipeline.whole_examples(session.OPENERS[opened.objective.modality](opened.run.data))
    batch = opened.rows.pipeline.eval_transform([samples[row] for row in range(6)])
    names = [key for key in ("pixel_values", "input_ids", "attention_mask", "input_values") if key in batch]
    torch.save({key: batch[key] for key in names}, folder / "export" / "inputs.pt")
    with torch.no_grad():
        return parts.objective.features(batch)


@pytest.mark.versions
def test_the_export_gives_the_same_features_without_hfssl(
    method: str, tmp_path: Path, without_hfssl: Interpreter
) -> None:
    features = exported(method, tmp_path)
    without_hfssl(READ_EXPORT, str(tmp_path / "export"))
    answer = torch.load(tmp_path / "export" / "answer.pt")
    assert float((answer - features).abs().max()) <= 1e-5
    assert float(features.std(dim=0).mean()) > 1e-3


def test_constant_features_raise_the_collapse_alarm_and_healthy_ones_do_not(method: str, tmp_path: Path) -> None:
    features = exported(method, tmp_path)
    assert collapse_warnings(torch.ones_like(features)) != []
    assert collapse_warnings(features) == []


def test_gradient_checkpointing_keeps_fewer_bytes_and_the_same_gradients(method: str, tmp_path: Path) -> None:
    kept = []
    for checkpointing in (False, True):
        opened = open_small(method, tmp_path, gradient_checkpointing=checkpointing)
        batch = steps_of(opened, 1)[0][0]
        kept.append(rehearse(opened.accelerator, opened.objective, opened.rows.pipeline.augment, batch).saved_bytes)
    assert kept[1] < 0.8 * kept[0]
    plain, recomputed = (gradients_of(method, {}, {"gradient_checkpointing": flag}) for flag in (False, True))
    assert relative_error(plain[1], recomputed[1]) <= 1e-12


def test_the_compile_flag_compiles_and_changes_no_loss(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch._dynamo as dynamo  # seconds, which other laws need not wait for

    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compile_module(module, backend="aot_eager"))
    plain = losses_of(method, tmp_path, 2, per_device_batch_size=8)
    dynamo.reset()
    dynamo.utils.counters.clear()
    assert losses_of(method, tmp_path, 2, per_device_batch_size=8, compile=True) == pytest.approx(plain, rel=1e-4)
    assert dynamo.utils.counters["frames"]["ok"] > 0


def test_every_config_field_is_a_unique_flag_with_help(method: str) -> None:
    config, objective = classes(method)
    sections = [config, catalog.DATA_CONFIGS[objective.modality], OptimConfig, LoopConfig]
    fields = [item for section in sections for item in dataclasses.fields(section)]
    assert len({item.name for item in fields}) == len(fields)
    assert all(item.metadata["help"] for item in fields)


def test_config_and_objective_are_of_one_modality(method_or_toy: str) -> None:
    config, objective = classes(method_or_toy)
    assert config.modality == objective.modality
