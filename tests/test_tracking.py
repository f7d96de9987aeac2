"""What a run says while it goes on: the bar, the lines above it, and a tracker beside metrics.jsonl."""

import io
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hfssl.config import parse as config
from hfssl.config.sections import LoopConfig
from hfssl.errors import ConfigError
from hfssl.run_dir import RunDir
from hfssl.training import tracking
from hfssl.training.accelerator import start
from hfssl.training.checkpoint import read_state
from hfssl.training.loop import train
from hfssl.training.start import Start
from tests.support.laboratory import open_small, run_of


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def visible_lines(self) -> list[str]:
        """What stays on the screen: in each line, what was written after the last return to its beginning."""
        return [line.rsplit("\r", 1)[-1] for line in self.getvalue().split("\n")]


def screen_of(folder: Path, monkeypatch: pytest.MonkeyPatch, screen: io.StringIO) -> io.StringIO:
    folder.mkdir()
    opened = open_small("toy", folder, max_steps=6)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", screen)
        patched.setattr(sys, "stderr", screen)
        train(opened)
    return screen


def test_a_line_never_breaks_the_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = screen_of(tmp_path / "a", monkeypatch, Terminal())
    assert "6/6 [" in terminal.getvalue()
    lines = [line for line in terminal.visible_lines() if line.strip()]
    assert [line[:8] for line in lines] == ["step 2/6", "step 4/6", "step 6/6"]
    assert not any("step/s" in line for line in lines)


def test_there_is_no_bar_where_none_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = screen_of(tmp_path / "pipe", monkeypatch, io.StringIO())
    assert pipe.getvalue().count("\n") == 3
    assert "\r" not in pipe.getvalue()
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    assert "\r" not in screen_of(tmp_path / "quiet", monkeypatch, Terminal()).getvalue()


def train_with_tensorboard(folder: Path, started: Start, stop_at: int | None = None) -> None:
    opened = open_small("toy", folder, started, log_every=1, save_every=3, report_to="tensorboard")
    tracking.open_tracker(opened.accelerator, opened.run, opened.run_dir, opened.state.step)
    opened.run_dir.drop_metrics_after(opened.state.step)
    if stop_at is not None:
        opened.state.max_steps = stop_at
    train(opened)
    opened.accelerator.end_training()


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "tensorboard" / "hfssl")).Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_a_tracker_gets_what_the_file_gets_also_after_a_resume(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    train_with_tensorboard(tmp_path, Start(run_dir, None, []), stop_at=5)
    state = read_state(run_dir, 3)
    state.max_steps = 8
    train_with_tensorboard(tmp_path, Start(run_dir, state, []))
    rows = run_dir.read_metrics()
    assert [row["step"] for row in rows] == list(range(1, 9))
    for name in ("loss", "learning_rate", "gradient_norm"):
        logged = scalars(tmp_path, name)
        assert [step for step, _ in logged] == list(range(1, 9)), "steps beyond the checkpoint are logged once"
        assert [value for _, value in logged] == pytest.approx([row[name] for row in rows], rel=1e-5)


def test_a_tracker_that_is_missing_or_broken_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(config.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ConfigError, match="the package wandb is not installed; pip install wandb"):
            run_of("toy", tmp_path, report_to="wandb")
    run = run_of("toy", tmp_path, report_to="tensorboard")
    accelerator = start(run.loop)

    def offline(*anything: object, **options: object) -> None:
        raise ConnectionError("no route\nto the tracker")

    monkeypatch.setattr(accelerator, "init_trackers", offline)
    with pytest.raises(ConfigError, match="tensorboard cannot be started: ConnectionError: no route to the tracker"):
        tracking.open_tracker(accelerator, run, RunDir(tmp_path), 0)
    assert LoopConfig().report_to == "none"
