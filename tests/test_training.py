"""Kills, stops, skips and refusals of real runs: what was saved is whole, and going on changes no bit."""

import dataclasses
import errno
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from hfssl.commands import pretrain as pretrain_module
from hfssl.commands.pretrain import pretrain
from hfssl.config.run_config import RunConfig
from hfssl.data.images.cache import DecodedImages
from hfssl.data.images.pipeline import ImagePipeline
from hfssl.data.images.source import open_images
from hfssl.errors import ConfigError, Interrupted, TrainingError
from hfssl.objective import BadRowError, Batch
from hfssl.run_dir import RunDir
from hfssl.runs import open_session as session_module
from hfssl.training import checkpoint
from hfssl.training.start import FolderLock, InUseError
from tests.support.laboratory import classes, differing, run_of, use_few_rows
from tests.support.processes import collect, in_processes, launch
from tests.support.toy import Toy

STEPS = 20
WORKERS = {"mae": 1, "toy": 0}
LOOP = {"max_steps": STEPS, "save_every": 4, "log_every": 3}


def train(name: str, folder: Path, loop: dict[str, Any], *, pause: float = 0.0, kill_in_save: int | None = None) -> Any:
    """Pretrain for real, without the evaluation at the end; (signal, message) if it was stopped, else None."""
    use_few_rows()
    finish, publish, augment = pretrain_module._finish, checkpoint._publish, ImagePipeline.augment
    pretrain_module._finish = lambda context, session: session.run_dir.write_summary({"rows": []})

    def die_in_save(unfinished: Path, target: Path) -> str | None:
        if kill_in_save is not None and target.name == f"step_{kill_in_save:08d}":
            signal.raise_signal(signal.SIGKILL)
        return publish(unfinished, target)

    def slow_augment(pipeline: ImagePipeline, batch: Batch, progress: float) -> Batch:
        time.sleep(pause)
        return augment(pipeline, batch, progress)

    checkpoint._publish, ImagePipeline.augment = die_in_save, slow_augment
    try:
        pretrain(classes(name)[1], with_workers(run_of(name, folder, **loop), WORKERS[name]))
    except Interrupted as stop:
        return stop.signal_number, str(stop)
    finally:
        pretrain_module._finish, checkpoint._publish, ImagePipeline.augment = finish, publish, augment
    return None


def with_workers(run: RunConfig, num_workers: int) -> RunConfig:
    return dataclasses.replace(run, data=dataclasses.replace(run.data, num_workers=num_workers))


def train_slowly_in_a_group(name: str, folder: Path, loop: dict[str, Any]) -> Any:
    os.setpgid(0, 0)
    return train(name, folder, loop, pause=0.03)


def train_slowly(name: str, folder: Path, loop: dict[str, Any]) -> Any:
    return train(name, folder, loop, pause=0.03)


def train_and_die_in_save(name: str, folder: Path, loop: dict[str, Any], step: int) -> Any:
    return train(name, folder, loop, kill_in_save=step)


def wait_for_step(folder: Path, step: int) -> None:
    """Until metrics.jsonl has a row of `step` or beyond."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(row["step"] >= step for row in RunDir(folder).read_metrics()):
            return
        time.sleep(0.005)
    raise AssertionError(f"step {step} was not reached")


def kill_at(name: str, folder: Path, loop: dict[str, Any], step: int, world_size: int) -> None:
    started = launch(train_slowly, name, folder, loop, world_size=world_size)
    wait_for_step(folder, step)
    time.sleep(random.Random(step).uniform(0.0, 0.1))
    for process, _ in started:
        process.kill()
    for process, _ in started:
        process.join(30)


def final_state(folder: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """(every tensor of the last checkpoint, metrics rows without their times)."""
    last = RunDir(folder).checkpoint(STEPS)
    assert checkpoint.what_is_wrong(last) is None
    tensors = load_file(last / "model.safetensors")
    for index, moments in torch.load(last / "optimizer.bin", weights_only=True)["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    rows = [
        {key: value for key, value in row.items() if not key.startswith("time/")}
        for row in RunDir(folder).read_metrics()
    ]
    return tensors, rows


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("name", ["mae", "toy"])
def test_killed_three_times_once_inside_a_save_ends_bitwise_like_unbroken(
    name: str, world_size: int, tmp_path: Path
) -> None:
    loop = LOOP | {"per_device_batch_size": 2}
    in_processes(train, name, tmp_path / "unbroken", loop, world_size=world_size)
    broken = tmp_path / "broken"
    kill_at(name, broken, loop, 6, world_size)
    dying = launch(train_and_die_in_save, name, broken, loop, 12, world_size=world_size)
    dying[0][0].join(60)
    assert dying[0][0].exitcode == -signal.SIGKILL
    for process, _ in dying:
        process.kill()
    assert [path.name for path in (broken / "checkpoints").glob(".*")] == [".step_00000012.tmp"]
    kill_at(name, broken, loop, 15, world_size)
    in_processes(train, name, broken, loop, world_size=world_size)
    one, other = final_state(tmp_path / "unbroken"), final_state(broken)
    assert differing(one[0], other[0]) == []
    assert one[1] == other[1]
    assert [row["step"] for row in one[1]] == [3, 6, 9, 12, 15, 18, 20]
    assert sorted(path.name for path in (broken / "checkpoints").iterdir()) == ["step_00000016", "step_00000020"]


KEPT: list[BaseException] = []


def train_and_fail(name: str, folder: Path, loop: dict[str, Any]) -> Any:
    def fail(*anything: Any) -> None:
        raise RuntimeError("a fault of the program")

    Toy.on_gradients_ready = fail
    WORKERS["toy"] = 1
    try:
        return train(name, folder, loop)
    except RuntimeError as error:
        KEPT.append(error)  # as the interpreter keeps an uncaught one, with every frame of its traceback


def test_an_error_in_the_loop_ends_a_process_that_has_data_workers(tmp_path: Path) -> None:
    ((process, _),) = launch(train_and_fail, "toy", tmp_path, LOOP)
    process.join(40)
    exit_code = process.exitcode
    process.kill()
    assert exit_code == 0, "None: it waits for workers that ignore its signals"


def test_a_kill_while_an_old_checkpoint_is_removed_leaves_no_half_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = RunDir(tmp_path)
    for step in (4, 8, 12):
        run_dir.checkpoint(step).mkdir(parents=True)
        for name in ("manifest.json", "model.safetensors"):
            (run_dir.checkpoint(step) / name).write_text("{}", encoding="utf-8")

    def killed(folder: Path, **options: Any) -> None:
        (folder / "manifest.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoint._remove_oldest(run_dir, keep=2, best_step=None)
    assert run_dir.checkpoint_steps() == [8, 12]
    checkpoint.clear_away(run_dir, newest=12)
    assert sorted(path.name for path in run_dir.checkpoints.iterdir()) == ["step_00000008", "step_00000012"]


def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    in_processes(train, "mae", tmp_path / "alone", LOOP)
    started = launch(train_slowly, "mae", tmp_path / "moved", LOOP | {"per_device_batch_size": 2}, world_size=2)
    wait_for_step(tmp_path / "moved", 9)
    for process, _ in started:
        process.kill()
    for process, _ in started:
        process.join()  # the dying process still holds the folder's lock
    in_processes(train, "mae", tmp_path / "moved", LOOP)
    losses = [[row["loss"] for row in RunDir(tmp_path / name).read_metrics()] for name in ("alone", "moved")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_signal_to_one_rank_saves_on_all_and_says_how_to_resume(world_size: int, tmp_path: Path) -> None:
    loop = LOOP | {"save_every": 100}
    started = launch(train_slowly, "mae", tmp_path / "run", loop, world_size=world_size)
    wait_for_step(tmp_path / "run", 3)
    started[-1][0].terminate()
    for number, message in collect(started):
        assert number == signal.SIGTERM
        assert "Checkpoint saved. Resume with" in message
    (step,) = RunDir(tmp_path / "run").checkpoint_steps()
    assert 3 <= step < STEPS
    for folder in ("run", "unbroken"):
        in_processes(train, "mae", tmp_path / folder, loop, world_size=world_size)
    assert differing(final_state(tmp_path / "run")[0], final_state(tmp_path / "unbroken")[0]) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_leaves_the_data_workers_alone(number: signal.Signals, tmp_path: Path) -> None:
    started = launch(train_slowly_in_a_group, "mae", tmp_path, LOOP | {"save_every": 100})
    wait_for_step(tmp_path, 3)
    assert started[0][0].pid is not None
    os.killpg(started[0][0].pid, number)
    assert collect(started)[0][0] == number
    assert checkpoint.newest_whole(RunDir(tmp_path))[0] is not None


def test_damaged_checkpoints_do_not_push_out_whole_ones(tmp_path: Path) -> None:
    train("toy", tmp_path, LOOP)
    run_dir = RunDir(tmp_path)
    run_dir.forget_summary()
    for step in (16, 20):
        (run_dir.checkpoint(step) / "model.safetensors").write_bytes(b"torn")
    train("toy", tmp_path, LOOP)
    assert checkpoint.newest_whole(run_dir) == (20, [])
    assert run_dir.checkpoint_steps() == [16, 20]
    assert len(list(run_dir.checkpoints.glob("damaged_*"))) == 2


def test_a_failed_start_leaves_no_folder_behind_and_the_same_command_works_then(tmp_path: Path) -> None:
    run = run_of("toy", tmp_path / "run", **LOOP)
    broken = dataclasses.replace(run, data=dataclasses.replace(run.data, split="nowhere"))
    session_module.OPENERS["image"] = open_images
    with pytest.raises(ConfigError, match="--split nowhere is not in"):
        pretrain(classes("toy")[1], broken)
    assert not (tmp_path / "run").exists()
    train("toy", tmp_path / "run", LOOP)
    assert RunDir(tmp_path / "run").is_finished()


def test_other_precision_or_another_data_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train("toy", tmp_path, LOOP | {"max_steps": 4})
    state_file = RunDir(tmp_path).checkpoint(4) / "train_state.json"
    monkeypatch.setattr(checkpoint, "what_is_wrong", lambda folder: None)
    stored = json.loads(state_file.read_text())
    for changed, message in (
        ({"mixed_precision": "bf16"}, "started in bf16 precision, now it is no"),
        ({"data_path": "decoded at each access"}, "decoded at each access, now cached: crops would differ"),
    ):
        state_file.write_text(json.dumps(stored | changed))
        with pytest.raises(ConfigError, match=message):
            train("toy", tmp_path, LOOP | {"rescale_schedule": True})


def test_a_broken_checkpoint_is_passed_over_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("toy", tmp_path, LOOP)
    run_dir = RunDir(tmp_path)
    (tmp_path / "eval" / "summary.json").unlink()
    weights = run_dir.checkpoint(20) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    before = final_state_rows(run_dir)
    capsys.readouterr()
    train("toy", tmp_path, LOOP)
    said = capsys.readouterr().out
    assert "step_00000020 is passed over: model.safetensors does not match" in said
    assert "going on from step 16" in said
    assert final_state_rows(run_dir) == before


def final_state_rows(run_dir: RunDir) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in run_dir.read_metrics()]


def test_a_finished_run_prints_its_table_and_trains_no_more(tmp_path: Path) -> None:
    train("toy", tmp_path, LOOP)
    stamp = RunDir(tmp_path).metrics_file.stat().st_mtime_ns
    (tmp_path / "eval" / "summary.json").write_text(
        json.dumps(
            {
                "rows": [{"features": "raw pixels", "width": 64}, {"features": "pretrained", "width": 8}],
                "train_rows": 1,
                "test_rows": 0,
                "data": "x",
            }
        )
    )
    train("toy", tmp_path, LOOP)
    assert RunDir(tmp_path).metrics_file.stat().st_mtime_ns == stamp


REFUSED = {
    "seed": ({"seed": 1}, "started with other settings .seed: 0 -> 1"),
    "global batch": ({"global_batch_size": 4}, "global_batch_size: 8 -> 4"),
    "length": ({"max_steps": 40}, "started for 20 steps, now 40: add --rescale_schedule"),
    "never": ({"resume": "never"}, "holds a run already"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_resume_may_not_change_is_named(case: str, tmp_path: Path) -> None:
    changed, message = REFUSED[case]
    train("toy", tmp_path, LOOP)
    (tmp_path / "eval" / "summary.json").unlink()
    with pytest.raises(ConfigError, match=message):
        train("toy", tmp_path, LOOP | changed)


def test_what_a_resume_may_change_changes_nothing_else(tmp_path: Path) -> None:
    train("toy", tmp_path, LOOP | {"max_steps": 8})
    train("toy", tmp_path, LOOP | {"rescale_schedule": True, "save_every": 7, "keep_checkpoints": 3})
    assert RunDir(tmp_path).checkpoint_steps() == [8, 14, 20]


def test_resume_must_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--resume must: .* holds no run"):
        train("toy", tmp_path / "new", LOOP | {"resume": "must"})


def test_without_a_folder_the_same_command_goes_on_and_another_starts_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, expected in ((0, "toy-000"), (0, "toy-001"), (1, "toy-002")):  # a finished run is not gone on with
        train("toy", None, LOOP | {"seed": seed, "output_dir": None})  # type: ignore[arg-type]
        assert (tmp_path / "runs" / expected / "eval" / "summary.json").is_file()
    (tmp_path / "runs" / "toy-001" / "eval" / "summary.json").unlink()
    train("toy", None, LOOP | {"output_dir": None})  # type: ignore[arg-type]
    assert (tmp_path / "runs" / "toy-001" / "eval" / "summary.json").is_file()
    longer = LOOP | {"output_dir": None, "max_steps": 24, "rescale_schedule": True}
    train("toy", None, longer)  # type: ignore[arg-type]
    assert RunDir(tmp_path / "runs" / "toy-001").checkpoint_steps()[-1] == 24
    assert len(list((tmp_path / "runs").iterdir())) == 3


def test_two_processes_can_not_work_in_one_folder(tmp_path: Path) -> None:
    started = launch(train_slowly, "toy", tmp_path, LOOP)
    wait_for_step(tmp_path, 3)
    with pytest.raises(ConfigError, match="in use by another process"):
        train("toy", tmp_path, LOOP)
    collect(started)


def test_the_workers_of_a_killed_run_do_not_keep_its_folder(tmp_path: Path) -> None:
    started = launch(train_slowly, "mae", tmp_path, LOOP)
    wait_for_step(tmp_path, 3)
    started[0][0].kill()
    started[0][0].join(30)
    try:
        FolderLock(RunDir(tmp_path)).release()  # its data worker lives on for some seconds
        is_free = True
    except InUseError:
        is_free = False
    assert is_free


def test_a_full_disk_leaves_the_old_checkpoint_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state = Accelerator.save_state

    def full(accelerator: Accelerator, folder: str) -> Any:
        if "00000012" in folder:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save_state(accelerator, folder)

    monkeypatch.setattr(Accelerator, "save_state", full)
    with pytest.raises(
        TrainingError, match=r"step 12 could not be written: .*No space left.* last whole one is .*00000008"
    ):
        train("toy", tmp_path, LOOP)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step_00000004", "step_00000008"]


def test_non_finite_steps_in_a_row_end_the_run_with_the_samples_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augment = ImagePipeline.augment

    def poisoned(pipeline: ImagePipeline, batch: Batch, progress: float) -> Batch:
        changed = augment(pipeline, batch, progress)
        if progress >= 0.5:
            changed["pixel_values"] = changed["pixel_values"] * torch.nan
        return changed

    monkeypatch.setattr(ImagePipeline, "augment", poisoned)
    use_few_rows()
    with pytest.raises(
        TrainingError, match=r"5 steps in a row .* checkpoint of step \d+ is kept; samples .*\[\d+, \d+"
    ):
        pretrain(classes("mae")[1], run_of("mae", tmp_path, **LOOP))
    rows = RunDir(tmp_path).read_metrics()
    assert [row["skipped_steps"] for row in rows] == [0, 0, 0, 2]
    assert all(row["loss"] is None or row["loss"] > 0 for row in rows)


def test_an_interval_of_skipped_steps_has_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    augment = ImagePipeline.augment

    def poisoned(pipeline: ImagePipeline, batch: Batch, progress: float) -> Batch:
        changed = augment(pipeline, batch, progress)
        if 0.3 <= progress < 0.45:  # steps 6 to 8: one whole interval
            changed["pixel_values"] = changed["pixel_values"] * torch.nan
        return changed

    monkeypatch.setattr(ImagePipeline, "augment", poisoned)
    train_without_patch(tmp_path)
    losses = {row["step"]: row["loss"] for row in RunDir(tmp_path).read_metrics()}
    assert losses[9] is None
    assert all(loss is not None for step, loss in losses.items() if step != 9)


def train_without_patch(folder: Path) -> None:
    use_few_rows()
    original = pretrain_module._finish
    pretrain_module._finish = lambda context, session: None
    try:
        pretrain(classes("mae")[1], run_of("mae", folder, **LOOP))
    finally:
        pretrain_module._finish = original


def test_bad_rows_are_counted_once_and_too_many_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decode = DecodedImages.__getitem__
    bad: set[int] = set()

    def broken(images: DecodedImages, index: int) -> Any:
        if index in bad:
            raise BadRowError("is torn")
        return decode(images, index)

    monkeypatch.setattr(DecodedImages, "__getitem__", broken)
    monkeypatch.setattr("hfssl.data.images.pixel_pipeline.cached", lambda *arguments, **options: None)
    bad |= {3, 7}
    train_without_patch(tmp_path / "few")
    assert RunDir(tmp_path / "few").read_metrics()[-1]["bad_rows"] == 2
    assert capsys.readouterr().out.count("cannot be used and is replaced: is torn") == 2
    bad |= set(range(20))
    with pytest.raises(TrainingError, match=r"rows tried cannot be used, more than 10: rows \["):
        train_without_patch(tmp_path / "many")
