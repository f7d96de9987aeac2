"""Run folders that somebody forged or a disk damaged: what does not hold is passed over, or refused in a line."""

import dataclasses
import errno
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate import Accelerator

from hfssl.config.files import load_layer
from hfssl.console import reported
from hfssl.data.images.config import ImageDataConfig
from hfssl.errors import OF_THE_DISK, ConfigError, TrainingError, one_line
from hfssl.limited_yaml import parsed_yaml
from hfssl.methods.mae.config import MAEConfig
from hfssl.run_dir import RunDir, forget_if_unused, why_not_usable, write_text
from hfssl.training import checkpoint
from hfssl.training.checkpoint import TrainState, clear_away, load, newest_whole, save
from hfssl.training.start import FolderLock
from hfssl.training.state_check import _CHECKS
from tests.support.run_folder import begun, finished

STATE = dataclasses.asdict(TrainState(step=4, max_steps=8, num_rows=9, loss_scale=1.0))


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in STATE.items() if key != name}


FORGED: dict[str, Any] = {
    "unknown keys": STATE | {"callback": "os.system"},
    "missing step": without("step"),
    "missing loss_scale": without("loss_scale"),
    "textual step": STATE | {"step": "4"},
    "negative step": STATE | {"step": -4},
    "another step": STATE | {"step": 3},
    "fraction of a step": STATE | {"step": 4.0},
    "true as step": STATE | {"step": True},
    "step beyond the end": STATE | {"max_steps": 2},
    "no scale": STATE | {"loss_scale": 0.0},
    "endless scale": STATE | {"loss_scale": float("inf")},
    "negative rows": STATE | {"bad_rows": [-1]},
    "rows in text": STATE | {"bad_rows": "12"},
    "list as interval": STATE | {"interval": [1.0]},
    "signs of no numbers": STATE | {"held_signs": {"std": 3}},
    "best step to come": STATE | {"best_step": 6},
    "negative samples": STATE | {"samples_seen": -3},
    "number as versions": STATE | {"versions": {"torch": 2}},
    "list": [STATE],
    "number": 3,
    "nothing": None,
}


def written(run_dir: RunDir, step: int, state: Any) -> Path:
    """A checkpoint folder whose manifest holds, whatever `state` is."""
    folder = run_dir.checkpoint(step)
    unfinished = folder.with_name("unfinished")
    unfinished.mkdir(parents=True)
    (unfinished / "model.safetensors").write_bytes(b"weights")
    (unfinished / "train_state.json").write_text(state if isinstance(state, str) else json.dumps(state))
    assert checkpoint._publish(unfinished, folder) is None
    return folder


@pytest.mark.parametrize("state", FORGED.values(), ids=FORGED)
def test_a_forged_state_is_passed_over_for_the_checkpoint_before(state: Any, tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    written(run_dir, 2, STATE | {"step": 2})
    written(run_dir, 4, state)
    step, (said,) = newest_whole(run_dir)
    assert step == 2
    assert "step_00000004 is passed over: train_state.json" in said
    assert "\n" not in said
    clear_away(run_dir, step)
    assert run_dir.checkpoint_steps() == [2]


def test_a_state_as_runs_write_it_is_read(tmp_path: Path) -> None:
    rich = TrainState(
        4, 8, 9, 1.0, bad_rows=[3], interval={"loss": float("nan")}, held_signs={"std": [1.0]}, best_step=2
    )
    rich.best_reached, rich.versions = [0.5, -1.0], {"torch": "2.11"}
    written(RunDir(tmp_path), 4, dataclasses.asdict(rich))
    assert newest_whole(RunDir(tmp_path)) == (4, [])
    read = checkpoint.read_state(RunDir(tmp_path), 4)
    assert str(read) == str(rich)


def test_every_field_of_a_state_is_checked() -> None:
    assert set(_CHECKS) == {field.name for field in dataclasses.fields(TrainState)}


@pytest.mark.parametrize("name", ["manifest.json", "train_state.json"])
@pytest.mark.parametrize(
    "content", ["[" * 100_000 + "]" * 100_000, '{"a":' * 100_000, "", "{", "\x00", "[1]", "7", "null"]
)
def test_files_of_a_checkpoint_that_are_no_json_of_ours_are_passed_over(
    name: str, content: str, tmp_path: Path
) -> None:
    run_dir = RunDir(tmp_path)
    folder = written(run_dir, 4, content if name == "train_state.json" else STATE)
    if name == "manifest.json":
        (folder / name).write_text(content)
    step, (said,) = newest_whole(run_dir)
    assert step is None
    assert "is passed over: " in said
    assert len(said) < 500


@pytest.mark.parametrize("name", ["manifest.json", "train_state.json", "model.safetensors"])
def test_folders_in_the_place_of_files_of_a_checkpoint_are_passed_over(name: str, tmp_path: Path) -> None:
    folder = written(RunDir(tmp_path), 4, STATE)
    (folder / name).unlink()
    (folder / name).mkdir()
    assert newest_whole(RunDir(tmp_path))[0] is None


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harmed",)


@pytest.mark.parametrize("content", [pickle.dumps(Harmful()), pickle.dumps({"state": 3}), b"", b"PK\x03\x04", b"text"])
def test_a_pickle_in_the_place_of_an_optimizer_runs_no_code_and_ends_in_a_line(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_dir, accelerator = RunDir(tmp_path / "run"), Accelerator(cpu=True)
    model = torch.nn.Linear(2, 2)
    accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9))
    try:
        folder = save(accelerator, run_dir, TrainState(4, 8, 9, 1.0), keep=1)
        load(accelerator, run_dir, 4)
        (folder / "optimizer.bin").write_bytes(content)
        (folder / "manifest.json").unlink()
        assert checkpoint._publish(Path(shutil.move(folder, tmp_path / "again")), folder) is None
        with pytest.raises(
            TrainingError, match=r"step_00000004 cannot be loaded \(.*\): remove it, and the run resumes from"
        ):
            load(accelerator, run_dir, 4)
    finally:
        accelerator.free_memory()
    assert not (tmp_path / "harmed").exists()


FOLDERS = ("checkpoints", "export", "processor", "eval", "figures", "tensorboard")
FILES = (".lock", "environment.json", "metrics.jsonl", "closing.json", "closing.log", "report.html", "README.md")


@pytest.mark.parametrize("name", [*FOLDERS, *FILES])
def test_a_file_in_the_place_of_a_folder_or_the_reverse_is_refused_in_a_line(name: str, tmp_path: Path) -> None:
    run_dir = begun(tmp_path / "run")
    path = run_dir.path / name
    path.unlink(missing_ok=True)
    path.write_text("a file") if name in FOLDERS else path.mkdir()
    right = "folder" if name in FOLDERS else "file"
    with pytest.raises(ConfigError, match=f"{name} must be a {right} and is none: move it away"):
        run_dir.is_run()


def test_a_lock_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run" / ".lock").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"run cannot be locked \(.*\): name another --output_dir"):
        FolderLock(RunDir(tmp_path / "run"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file cannot be locked"):
        FolderLock(RunDir(tmp_path / "file"))


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_lies_where_an_export_is_written_is_replaced(kind: str, tmp_path: Path) -> None:
    from tests.support.run_folder import export

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("stays")
    run_dir = finished(tmp_path / "run")
    for path in (run_dir.path / ".export.tmp", run_dir.export):
        shutil.rmtree(path, ignore_errors=True)
        if kind == "file":
            path.write_text("")
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(elsewhere)
    export(run_dir.export)
    assert (run_dir.export / "config.json").is_file()
    assert not (run_dir.path / ".export.tmp").exists()
    assert [file.name for file in elsewhere.iterdir()] == ["mine"]


@pytest.mark.parametrize("content", ["[" * 100_000, "", "[]", "\x00"])
def test_json_of_a_run_that_is_damaged_is_one_line(content: str, tmp_path: Path) -> None:
    run_dir = begun(tmp_path / "run")
    (run_dir.path / "environment.json").write_text(content)
    with pytest.raises(ConfigError, match=r"environment.json cannot be read \(.*\): mend or remove it"):
        run_dir.read_environment()


def test_a_file_whose_writer_was_killed_does_not_block_the_next_start(tmp_path: Path) -> None:
    (tmp_path / ".config.yaml.123.tmp").write_text("half of")
    assert why_not_usable(tmp_path) is None
    forget_if_unused(RunDir(tmp_path))
    assert not tmp_path.exists()


def test_a_write_that_fails_leaves_nothing_and_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "config.yaml", "old")

    def full(*given: Any, **options: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "config.yaml")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            write_text(tmp_path / "config.yaml", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert (tmp_path / "config.yaml").read_text() == "old"


@pytest.mark.parametrize("number", OF_THE_DISK)
def test_a_disk_that_is_full_or_forbidden_ends_a_command_in_one_line(number: int) -> None:
    said = r"^error: runs/a/metrics.jsonl: .*; mend that, then start the same command"
    with pytest.raises(SystemExit, match=said) as end, reported():
        raise OSError(number, os.strerror(number), "runs/a/metrics.jsonl")
    assert "\n" not in str(end.value)
    with pytest.raises(FileNotFoundError), reported():
        raise FileNotFoundError(errno.ENOENT, "gone")


def test_torchs_words_for_a_full_disk_are_named() -> None:
    said = one_line(RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 262400 vs 262294"))
    assert said.startswith("No space left on device (")


BOMBS = {
    "aliases": "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)),
    "itself": "a: &a [*a, *a]\n",
    "brackets": "a: " + "[" * 100_000 + "]" * 100_000,
    "lines of brackets": "a:\n" + " [\n" * 100_000,
    "dashes": "- " * 20_000 + "x",
    "size": "a: " + "x" * 2_000_000,
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_yaml_that_stands_for_more_than_settings_is_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    for read in (RunDir(tmp_path).is_run, lambda: load_layer(file, MAEConfig, ImageDataConfig)):
        with pytest.raises(ConfigError) as caught:
            read()
        assert "config.yaml" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500


def test_yaml_of_settings_is_read_with_its_aliases() -> None:
    text = "optim: &shared {rate: 0.1, names: [a, b]}\nagain: *shared\nnone:\n"
    assert parsed_yaml(text) == yaml.safe_load(text)
    assert parsed_yaml("") is None
