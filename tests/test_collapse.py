"""Runs that go wrong in one known way: the alarm, its cause, and what --stop_on_collapse makes of it."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from hfssl.errors import TrainingError
from hfssl.methods.mlm.objective import MLM
from hfssl.objective import Objective
from hfssl.reporting.facts import facts_of
from hfssl.reporting.kinds import kind_of
from hfssl.reporting.markdown import LONGEST
from hfssl.run_dir import RunDir
from hfssl.training.alarms import Alarm, AlarmHistory
from hfssl.training.checkpoint import read_state
from hfssl.training.collapse_signs import CAUSES, EFFECTS
from hfssl.training.loop import Session, train
from hfssl.training.start import Start
from tests.support.joint_embeddings import NAMES, WITH_TEACHER, objective_of, views
from tests.support.laboratory import METHODS, open_small, validation
from tests.support.ranks import Ranks

LOOP = {"max_steps": 6, "log_every": 1, "evaluate_every": 3, "save_every": 2}
STANDS_STILL = {"teacher_momentum": 1.0}


def signs_of(session: Session) -> list[str]:
    return [alarm.sign for alarm in session.collapse_monitor.alarms]


def at_rate(session: Session, base_learning_rate: float) -> None:
    optim = dataclasses.replace(session.run.optim, base_learning_rate=base_learning_rate)
    session.run = dataclasses.replace(session.run, optim=optim)


@pytest.mark.parametrize("name", METHODS)
def test_a_short_healthy_run_of_every_method_raises_nothing(name: str, tmp_path: Path) -> None:
    opened = validation(open_small(name, tmp_path, **LOOP | {"log_every": 2}))
    at_rate(opened, 1e-3)
    train(opened)
    rows = opened.run_dir.read_metrics()
    assert all("warnings" not in row for row in rows)
    assert all(row["baseline_loss"] > 0 and row["weight_norm"] > 0 for row in rows if "loss" in row)


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_a_teacher_that_never_moves_is_named_with_its_flag(name: str, tmp_path: Path) -> None:
    opened = open_small(name, tmp_path, method=STANDS_STILL, **LOOP)
    train(opened)
    assert signs_of(opened) == ["still_teacher"]
    assert "lower --teacher_momentum" in opened.collapse_monitor.alarms[0].remedy


@pytest.mark.parametrize("name", WITH_TEACHER)
@pytest.mark.parametrize("whole", [True, False])
def test_a_teacher_made_of_the_students_own_tensors_is_named(name: str, whole: bool, tmp_path: Path) -> None:
    opened = open_small(name, tmp_path, **LOOP)
    objective: Any = opened.objective
    head = objective.projection_head if whole else objective.teacher.network[1]
    objective.teacher.network = torch.nn.Sequential(objective.backbone, head)
    train(opened)
    assert signs_of(opened) == ["shared_teacher"]


@pytest.mark.parametrize("name", METHODS)
def test_weights_that_do_not_move_are_named_with_the_learning_rate(name: str, tmp_path: Path) -> None:
    opened = open_small(name, tmp_path, **LOOP)
    at_rate(opened, 0.0)
    train(opened)
    assert signs_of(opened) == ["still_weights"]
    assert "--base_learning_rate" in opened.collapse_monitor.alarms[0].remedy


@pytest.mark.parametrize("name", ["clm", "mlm"])
def test_a_learning_rate_of_many_times_too_much_is_named(name: str, tmp_path: Path) -> None:
    opened = open_small(name, tmp_path, **LOOP)
    at_rate(opened, 0.05)
    train(opened)
    assert signs_of(opened) == ["grown_weights"]
    assert "lower --base_learning_rate" in opened.collapse_monitor.alarms[0].remedy


@pytest.mark.parametrize("name", NAMES)
def test_images_that_are_all_one_are_said_to_be_so_before_the_first_step(name: str, tmp_path: Path) -> None:
    opened = validation(open_small(name, tmp_path, **LOOP))
    monitor = opened.monitor
    assert monitor is not None
    one = monitor.samples.good[:1].expand(len(monitor.samples.good))
    opened.monitor = dataclasses.replace(monitor, samples=dataclasses.replace(monitor.samples, good=one), voters=None)
    train(opened)
    assert signs_of(opened) == ["equal_images"]
    assert "rows of the data are all alike" in opened.run_dir.read_metrics()[0]["warnings"][0]


@pytest.mark.parametrize("name", NAMES)
def test_equal_views_are_seen_whatever_the_method(name: str) -> None:
    objective, batch = objective_of(name), views(8, num_local=2)
    different = float(objective(batch, 0.0).metrics["view_distance"])
    batch["global_crops"] = batch["global_crops"][:, :1].expand(-1, 2, -1, -1, -1)
    assert float(objective(batch, 0.0).metrics["view_distance"]) == 0.0 < 0.5 < different


@pytest.mark.parametrize("name", NAMES)
def test_signals_wait_for_nothing_and_carry_no_gradient(name: str) -> None:
    metrics = objective_of(name)(views(8, num_local=2), 0.0).metrics
    assert {"baseline_loss", "view_distance"} <= metrics.keys()
    assert all(value.ndim == 0 and not value.requires_grad and bool(value.isfinite()) for value in metrics.values())


def test_causes_speak_of_the_settings_at_hand() -> None:
    assert (
        "set --prediction_hidden_size above 0"
        in objective_of("byol", prediction_hidden_size=0).diagnoses()["constant_embeddings"].remedy
    )
    assert "--prediction_hidden_size" not in objective_of("byol").diagnoses()["constant_embeddings"].remedy
    assert (
        "--centre_momentum 0.9 (now 1)" in objective_of("dino", centre_momentum=1.0).diagnoses()["few_outputs"].remedy
    )
    assert "--teacher_temperature" in objective_of("dino").diagnoses()["few_outputs"].remedy
    hot = objective_of("dino", teacher_temperature=1.0)
    assert "lower --teacher_temperature (now 1)" in hot.diagnoses()["uniform_output"].remedy
    assert "--sinkhorn_epsilon" in objective_of("swav").diagnoses()["uniform_output"].remedy


def test_every_sentence_fits_a_line_of_the_card() -> None:
    """A card cuts longer ones, and with them the flag."""
    objectives = [*map(objective_of, NAMES), objective_of("byol", prediction_hidden_size=0)]
    objectives += [objective_of(name, **STANDS_STILL) for name in WITH_TEACHER]
    too_long: list[str] = []
    for sign in CAUSES + EFFECTS:
        for diagnoses in [{}, *(objective.diagnoses() for objective in objectives)]:
            cause = diagnoses.get(sign.name, sign.cause)
            says = sign.says.format(figure=0.0123456)
            alarm = Alarm(sign.name, 0.0, sign.threshold, 1_000_000, says, cause.reason, cause.remedy)
            too_long += [alarm.sentence] if len(alarm.sentence) >= LONGEST else []
            assert "--" in cause.remedy or "Teacher.follow" in cause.reason
    assert too_long == []


def warnings_of(run_dir: RunDir) -> list[tuple[int, list[str]]]:
    return [(row["step"], row.get("warnings", [])) for row in run_dir.read_metrics()]


def run_with_a_still_teacher(folder: Path, **loop: Any) -> list[tuple[int, list[str]]]:
    folder.mkdir(exist_ok=True)
    opened = validation(open_small("moco", folder, method=STANDS_STILL, **LOOP | loop))
    train(opened)
    return warnings_of(opened.run_dir)


class Killed(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("last_step", [3, 4, 5])
def test_a_resumed_run_raises_the_alarms_of_an_unbroken_one(
    last_step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = run_with_a_still_teacher(tmp_path / "unbroken")
    assert [step for step, found in unbroken if found] != []
    folder = tmp_path / "broken"
    folder.mkdir()
    opened = validation(open_small("moco", folder, method=STANDS_STILL, **LOOP))
    after_interval = opened.collapse_monitor.after_interval

    def killed(figures: dict[str, Any]) -> dict[str, Any]:
        if opened.state.step == last_step:
            raise Killed
        return after_interval(figures)

    monkeypatch.setattr(opened.collapse_monitor, "after_interval", killed)
    with pytest.raises(Killed):
        train(opened)
    saved = opened.run_dir.checkpoint_steps()[-1]
    opened.run_dir.drop_metrics_after(saved)
    start = Start(opened.run_dir, read_state(opened.run_dir, saved), [])
    train(validation(open_small("moco", folder, start, method=STANDS_STILL, **LOOP)))
    assert warnings_of(opened.run_dir) == unbroken


def test_two_processes_raise_the_alarms_of_one(tmp_path: Path, ranks: Ranks) -> None:
    alone = run_with_a_still_teacher(tmp_path / "alone")
    both = ranks.two(on_a_rank, tmp_path / "both")
    assert both[0] == both[1] == alone


def on_a_rank(folder: Path) -> list[tuple[int, list[str]]]:
    from hfssl.distributed import barrier, world_size

    found = run_with_a_still_teacher(folder, per_device_batch_size=4)
    assert world_size() == 2
    barrier()  # the main process only writes
    return warnings_of(RunDir(folder)) or found


def stopped(folder: Path, per_device_batch_size: int) -> tuple[int, str]:
    """(step at which the run stopped, why)."""
    opened = validation(
        open_small(
            "moco",
            folder,
            method=STANDS_STILL,
            stop_on_collapse=True,
            per_device_batch_size=per_device_batch_size,
            **LOOP | {"save_every": 100},
        )
    )
    with pytest.raises(TrainingError) as caught:
        train(opened)
    return opened.state.step, str(caught.value)


def test_stop_on_collapse_saves_and_stops_on_all_ranks(tmp_path: Path, ranks: Ranks) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    alone.mkdir()
    both.mkdir()
    step, why = stopped(alone, 8)
    assert 1 < step < LOOP["max_steps"]
    assert f"the checkpoint of step {step} is kept" in why
    assert "lower --teacher_momentum" in why
    assert RunDir(alone).checkpoint_steps() == [step]
    assert ranks.two(stopped, both, 4) == [(step, why)] * 2
    assert RunDir(both).checkpoint_steps() == [step]


def test_a_stopped_run_can_go_on_without_the_flag(tmp_path: Path) -> None:
    step, _ = stopped(tmp_path, 8)
    start = Start(RunDir(tmp_path), read_state(RunDir(tmp_path), step), [])
    opened = validation(open_small("moco", tmp_path, start, method=STANDS_STILL, **LOOP))
    assert train(opened) is None
    assert opened.state.step == LOOP["max_steps"]


def test_alarms_begin_and_end_in_lines_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = open_small("moco", tmp_path, method=STANDS_STILL, **LOOP)
    train(opened)
    assert capsys.readouterr().out.count("warning: collapse: the teacher has not moved") == 1
    opened.state.held_signs.clear()
    opened.collapse_monitor.after_validate({})
    assert "no longer so: the teacher has not moved" in capsys.readouterr().out


def test_the_folder_of_a_run_speaks_of_its_last_alarms_alone(tmp_path: Path) -> None:
    opened = open_small("moco", tmp_path, method=STANDS_STILL, **LOOP)
    train(opened)
    run_dir = opened.run_dir
    run_dir.write_config(opened.run.stored())
    (said,) = [text for text in kind_of(facts_of(run_dir)).warnings() if "collapse" in text]
    assert said == opened.collapse_monitor.alarms[0].sentence
    run_dir.append_metrics(
        {key: value for key, value in run_dir.read_metrics()[-1].items() if key != "warnings"} | {"step": 7}
    )
    assert [text for text in kind_of(facts_of(run_dir)).warnings() if "collapse" in text] == []


def test_a_language_model_may_grow_as_healthy_ones_do() -> None:
    """From N(0, 0.02), with AdamW at 2e-3, the weights double in 1,000 steps and the loss falls as it should."""
    healthy = {100: 27.5, 200: 36.0, 500: 47.6, 1000: 50.9}
    for move, expected in ((MLM.max_healthy_update, []), (Objective.max_healthy_update, ["grown_weights"])):
        memory = AlarmHistory({"weight_norm": 20.0}, {})
        for step, norm in healthy.items():
            memory.observe("training", step, {"step": step, "weight_norm": norm, "max_healthy_update": move})
        assert [alarm.sign for alarm in memory.alarms(1000, {})] == expected
