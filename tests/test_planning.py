"""What a run is said to take, and what a budget and `auto` are turned into."""

import dataclasses
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from hfssl.commands.command import Plan
from hfssl.commands.plan import plan
from hfssl.config.parse import parse
from hfssl.data.images.config import ImageDataConfig
from hfssl.errors import ConfigError
from hfssl.methods.mae.config import MAEConfig
from hfssl.run_dir import RunDir
from hfssl.runs import open_session as session
from hfssl.runs import planning
from hfssl.runs.context import RunContext
from hfssl.runs.planning import divisors, fits, largest_that_fits, measured_copy, settled
from hfssl.training.accelerator import start
from hfssl.training.energy import Power, estimate_lines, power_of
from hfssl.training.measure import Measured
from hfssl.training.start import Start
from tests.support.laboratory import classes, few_rows_with_test, run_of, use_few_rows
from tests.support.toy import Toy

TINY = ["--image_size", "8", "--patch_size", "4", "--hidden_size", "8", "--num_attention_heads", "2"]
TINY += ["--num_hidden_layers", "1", "--decoder_hidden_size", "8", "--decoder_num_hidden_layers", "1"]
TINY += ["--decoder_num_attention_heads", "2", "--global_batch_size", "8", "--cpu_threads", "1"]


def mae(*argv: str) -> Any:
    return parse(MAEConfig, ImageDataConfig, argv)


def test_the_steps_of_a_budget_are_the_most_that_fit_into_it() -> None:
    measured = Measured(
        30, seconds_a_step=0.5, startup_seconds=20.0, validation_seconds=3.0, peak_bytes=1, data_wait=0.0
    )
    for seconds, every in ((3600.0, 100), (1000.0, 7), (40.0, 500)):
        steps = measured.steps_within(seconds, every)
        assert 0.98 * seconds - 6 <= measured.training_seconds(steps, every) <= seconds + 1e-6
    assert measured.steps_within(1.0, 10) == 1


def test_a_length_on_the_command_line_replaces_the_presets_and_two_are_refused(tmp_path: Path) -> None:
    loop = mae("--budget_hours", "2").loop
    assert (loop.budget_hours, loop.max_steps, loop.num_epochs) == (2.0, None, None)
    with pytest.raises(ConfigError, match="budget_hours and max_steps exclude each other"):
        mae("--budget_hours", "2", "--max_steps", "5")
    with pytest.raises(ConfigError, match="budget_hours and num_epochs exclude each other"):
        mae("--budget_hours", "2", "--num_epochs", "5")
    with pytest.raises(ConfigError, match="budget_hours must be above 0"):
        mae("--budget_hours", "-1")
    written = tmp_path / "mine.yaml"
    written.write_text("data: {dataset: 'demo:digits'}\nloop: {budget_hours: 3}\n", encoding="utf-8")
    assert mae("--config", str(written), "--max_steps", "5").loop.budget_hours is None


def with_budget(folder: Path) -> Any:
    run = run_of("mae", folder)
    return dataclasses.replace(run, loop=dataclasses.replace(run.loop, budget_hours=1.0, max_steps=None))


def test_a_budget_is_turned_into_steps_once_and_read_back_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_few_rows()
    run = with_budget(tmp_path)
    context = RunContext(classes("mae")[1], run, None, start(run.loop))
    slow = Measured(30, 9.0, 0.0, 0.0, 1, 0.0)
    monkeypatch.setattr(planning, "measured_copy", lambda *anything: (slow, None))
    first = settled(context, Start(RunDir(tmp_path), None, [])).run
    assert first.loop.max_steps == 400
    assert first.digest() == run.digest() != run_of("mae", tmp_path).digest()
    RunDir(tmp_path).write_config(first.stored())
    monkeypatch.setattr(planning, "measured_copy", lambda *anything: pytest.fail("measured twice"))
    assert settled(context, Start(RunDir(tmp_path), None, [])).run == first
    again = mae("--config", str(RunDir(tmp_path).config_file))
    assert (again.loop.budget_hours, again.loop.max_steps) == (1.0, 400)


def test_a_measured_copy_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    session.OPENERS["image"] = lambda data: few_rows_with_test()
    run = with_budget(tmp_path)
    accelerator = start(run.loop)
    measured, copied = measured_copy(RunContext(classes("mae")[1], run, None, accelerator))
    assert measured.num_steps == 30
    assert min(measured.seconds_a_step, measured.validation_seconds, measured.peak_bytes) > 0
    assert list(tmp_path.iterdir()) == []
    assert not copied.run_dir.path.exists()
    assert accelerator._models == accelerator._optimizers == []


@pytest.mark.parametrize("limit", [0, 1, 3, 5, 6, 24, 100])
def test_the_largest_size_that_fits_is_found(limit: int) -> None:
    sizes = divisors(24)
    assert sizes == [1, 2, 3, 4, 6, 8, 12, 24]
    expected = max((size for size in sizes if size <= limit), default=None)
    assert largest_that_fits(sizes, lambda size: size <= limit) == expected


class Greedy(Toy):
    """Needs more memory than there is for more than 4 samples, as a GPU's allocator says it."""

    def forward(self, batch: Any, progress: float) -> Any:
        if len(batch["keys"]) > 4:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(batch, progress)


def test_a_batch_that_does_not_fit_is_no_error_of_the_search(tmp_path: Path) -> None:
    use_few_rows()
    run = run_of("toy", tmp_path)
    context = RunContext(Greedy, run, None, start(run.loop))
    assert largest_that_fits([1, 2, 4, 8, 16], partial(fits, context)) == 4


def test_auto_takes_the_whole_share_on_a_cpu(tmp_path: Path) -> None:
    run = run_of("mae", tmp_path, per_device_batch_size="auto")
    context = RunContext(classes("mae")[1], run, None, start(run.loop))
    resolved = settled(context, Start(RunDir(tmp_path), None, [])).run
    assert resolved.loop.per_device_batch_size == 8
    assert mae("--per_device_batch_size", "auto").digest() == mae().digest()
    with pytest.raises(ConfigError, match=r"must be a whole number \| auto, got 'most'"):
        mae("--per_device_batch_size", "most")


def test_a_plan_names_time_memory_energy_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    run = Plan().read(["mae", *TINY, "--max_steps", "50", "--price_per_hour", "3600"])
    figures = plan(run)
    said = capsys.readouterr().out
    assert (figures["steps"], figures["samples"]) == (50, 400)
    assert figures["seconds"] > 0
    for word in (
        "samples     400 in all",
        "measured over 30 steps",
        "time  ",
        "memory  ",
        "energy  ",
        "at 3600 per hour",
    ):
        assert word in said
    for argv in ([], ["--max_steps", "5"]):
        with pytest.raises(ConfigError, match="name the method first"):
            Plan().read(argv)
    with pytest.raises(ConfigError, match="there is no method maee"):
        Plan().read(["maee"])


def test_energy_and_cost_follow_from_power_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = estimate_lines(Power(500.0, "a guess"), 7200.0, 3.0)
    assert lines == ["energy      about 1 kWh (a guess)", "cost        6.00 at 3 per hour"]
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\n[ "$1" = --id=0 ] && echo 700.00\n', encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert power_of(torch.device("cuda"), 4).watts == 2800.0
    tool.write_text("#!/bin/sh\nexit 9\n", encoding="utf-8")
    assert estimate_lines(power_of(torch.device("cuda"), 4), 1.0, None) == [
        "energy      about unknown (the GPU's power limit cannot be read)"
    ]
