"""The list of runs: every folder once, with its state or with the reason why it cannot be read; no torch."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hfssl.commands.command_line import main
from hfssl.commands.runs import runs
from hfssl.commands.runs_config import RunsConfig
from hfssl.config.parse import parse_plain
from hfssl.errors import ConfigError
from hfssl.reporting.curve_thinning import thinned
from hfssl.reporting.run_listing import ListedRun, list_runs, listed
from hfssl.reporting.runs_table import in_order, table_lines
from hfssl.run_dir import RunDir
from hfssl.run_lock import LOCK
from tests.support.finetuned_folder import begun_task, finished_task
from tests.support.pictured_folder import finished_study
from tests.support.run_folder import begun, finished, training_row
from tests.test_run_layout import with_layout

HOLD = """
import sys, time
from pathlib import Path
from hfssl.run_dir import RunDir
from hfssl.training.start import FolderLock
lock = FolderLock(RunDir(Path(sys.argv[1])))
print("held", flush=True)
sys.stdin.read()
"""


def by_name(folder: Path) -> dict[str, ListedRun]:
    return {run.name: run for run in list_runs(folder)}


def damaged(path: Path, name: str, content: str) -> None:
    begun(path)
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_text(content)


def without(path: Path, section: str) -> None:
    run_dir = begun(path)
    config = run_dir.read_config()
    del config[section]
    run_dir.write_config(config)


def test_a_run_is_listed_with_what_it_reached(tmp_path: Path) -> None:
    finished(tmp_path / "done")
    begun(tmp_path / "cut", steps=(10, 20))
    begun_task(tmp_path / "task-cut")
    finished_task(tmp_path / "task")
    found = by_name(tmp_path)
    assert {name: run.state for name, run in found.items()} == {
        "done": "finished",
        "cut": "interrupted",
        "task-cut": "interrupted",
        "task": "finished",
    }
    done, cut, task = found["done"], found["cut"], found["task"]
    assert (done.method, done.data, done.step, done.max_steps, done.seconds) == ("mae", "demo:digits", 40, 40, 20.0)
    assert [(name, score.value, score.is_final) for name, score in done.scores.items()] == [
        ("knn", 0.8, True),
        ("linear", pytest.approx(0.85), True),
    ]
    assert (cut.step, cut.max_steps, cut.seconds) == (20, 40, 10.0)
    assert [(name, score.value, score.is_final) for name, score in cut.scores.items()] == [("knn", 0.7, False)]
    assert (task.scores["score"].name, task.scores["score"].is_final) == ("accuracy", True)
    assert found["task-cut"].scores["score"] == ("accuracy", 0.5, False)
    assert done.curves["training loss"] == [(step, 10.0 / step) for step in (10, 20, 30, 40)]
    assert [step for step, _ in done.curves["validation loss"]] == [0, 10, 20, 30, 40]
    assert done.curves["kNN"][-1] == (40, pytest.approx(0.8))


def test_a_label_study_is_listed_as_finished_with_its_best_accuracy(tmp_path: Path) -> None:
    run_dir = finished_study(tmp_path / "study")
    content = run_dir.read_eval("label_study")
    for point in content["points"]:
        point["trials"] = point["cells"] = [{"seconds": 2.0}]
    run_dir.write_eval("label_study", content)
    found = listed(run_dir.path)
    assert (found.state, found.reason, found.step, found.seconds) == ("finished", "", None, 16.0)
    assert found.scores["score"] == ("accuracy, 1,000 labels", 0.9, True)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "foreign": (lambda path: path.mkdir(), "no run: it has no config.yaml"),
    "other config": (
        lambda path: (path.mkdir(), (path / "config.yaml").write_text("a: 1\n")),
        "no run: its config.yaml is not one of hfssl",
    ),
    "older": (
        lambda path: with_layout(begun(path), None),
        "was made by an earlier version of hfssl and cannot be opened: start a new run",
    ),
    "config": (lambda path: damaged(path, "config.yaml", "{"), "config.yaml can"),
    "metrics": (lambda path: damaged(path, "metrics.jsonl", '{"step": 1}\n{"st\n{"step": 3}\n'), "metrics.jsonl can"),
    "no objects": (lambda path: damaged(path, "metrics.jsonl", "1\n"), "a line is no object"),
    "no step": (lambda path: damaged(path, "metrics.jsonl", '{"loss": 1}\n'), "its files do not fit together"),
    "a text for a loss": (
        lambda path: damaged(path, "metrics.jsonl", json.dumps(training_row(1, loss="x")) + "\n"),
        "its files do not fit together",
    ),
    "environment": (lambda path: damaged(path, "environment.json", "[]"), "environment.json can"),
    "summary": (lambda path: damaged(path, "eval/summary.json", "{"), "summary.json can"),
    "other summary": (lambda path: damaged(path, "eval/summary.json", "{}"), "its files do not fit together"),
    "section": (lambda path: without(path, "data"), "its files do not fit together"),
    "a folder for a file": (
        lambda path: (begun(path).metrics_file.unlink(), (path / "eval" / "summary.json").mkdir(parents=True)),
        "",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_damaged_and_foreign_folders_are_listed_with_a_reason(kind: str, tmp_path: Path) -> None:
    make, reason = BROKEN[kind]
    make(tmp_path / "odd")
    begun(tmp_path / "good")
    found = by_name(tmp_path)
    assert set(found) == {"odd", "good"}
    assert found["good"].state == "interrupted"
    if reason:
        assert found["odd"].state == "broken"
        assert reason in found["odd"].reason
        assert "\n" not in found["odd"].reason
        assert str(tmp_path) not in found["odd"].reason


def test_files_and_hidden_folders_are_no_runs(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    (tmp_path / "index.html").write_text("")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert list_runs(tmp_path) == []


def test_a_run_that_writes_just_now_is_running_and_its_half_line_waits(tmp_path: Path) -> None:
    run_dir = begun(tmp_path / "a", steps=(10,))
    with run_dir.metrics_file.open("a") as file:
        file.write('{"step": 20, "loss": 0.')
    assert listed(run_dir.path).state == "interrupted"
    begins = RunDir(tmp_path / "b")
    for folder in (run_dir, begins):
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            found = listed(folder.path)
            process.communicate("")
        assert found.state == "running"
        assert not folder.is_in_use()
    assert [step for step, _ in listed(run_dir.path).curves["training loss"]] == [10]
    assert (begins.path / LOCK).is_file()


def test_asking_for_the_lock_does_not_take_it(tmp_path: Path) -> None:
    begun(tmp_path)
    (tmp_path / LOCK).touch()
    before = (tmp_path / LOCK).stat()
    assert not RunDir(tmp_path).is_in_use()
    assert not RunDir(tmp_path / "nowhere").is_in_use()
    after = (tmp_path / LOCK).stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)


def sorted_names(folder: Path, column: str) -> list[str]:
    return [run.name for run in in_order(list_runs(folder), column)]


def test_every_column_sorts_best_or_latest_first_and_what_has_no_value_last(tmp_path: Path) -> None:
    for number, name in enumerate(("mae-10", "mae-9", "b")):
        run_dir = begun(tmp_path / name, steps=range(10, 10 * number + 20, 10), held_out=number < 2)
        os.utime(run_dir.config_file, (number, number))
        os.utime(run_dir.metrics_file, (number, number))
    (tmp_path / "a-foreign").mkdir()
    os.utime(tmp_path / "a-foreign", (99, 99))
    assert sorted_names(tmp_path, "changed") == ["a-foreign", "b", "mae-9", "mae-10"]
    assert sorted_names(tmp_path, "name") == ["a-foreign", "b", "mae-9", "mae-10"]
    assert sorted_names(tmp_path, "steps") == ["b", "mae-9", "mae-10", "a-foreign"]
    assert sorted_names(tmp_path, "time") == ["b", "mae-9", "mae-10", "a-foreign"]
    assert sorted_names(tmp_path, "knn") == ["mae-9", "mae-10", "a-foreign", "b"]
    assert sorted_names(tmp_path, "method")[-1] == "a-foreign"
    assert sorted_names(tmp_path, "state")[0] == "a-foreign"  # broken comes before interrupted


def test_an_error_rate_sorts_the_lowest_first(tmp_path: Path) -> None:
    def with_score(name: str, score: str, value: float) -> None:
        run_dir = finished_task(tmp_path / name)
        summary = run_dir.read_summary()
        assert summary is not None
        run_dir.write_summary(summary | {"scores": {score: value, "unreadable_rows": 0}})

    for name, score, value in (
        ("bad", "wer", 0.9),
        ("good", "wer", 0.1),
        ("low", "accuracy", 0.1),
        ("high", "accuracy", 0.9),
    ):
        with_score(name, score, value)
    assert sorted_names(tmp_path, "score") == ["high", "low", "good", "bad"]


def test_the_table_has_a_line_per_run_and_no_control_characters(tmp_path: Path) -> None:
    finished(tmp_path / "done")
    begun(tmp_path / "cut\x1b[31m\n")
    (tmp_path / "foreign").mkdir()
    lines = table_lines(in_order(list_runs(tmp_path), "name"))
    assert len(lines) == 2 + 3 + 1
    assert lines[0].split() == ["name", "method", "data", "steps", "kNN", "linear", "time", "changed", "state"]
    assert re.match(r"cut\[31m +mae +demo:digits +20/40 +0\.700\* .* interrupted$", lines[2])
    assert re.match(r"done +mae +demo:digits +40/40 +0\.800 +0\.850 +0:00:20 .* finished$", lines[3])
    assert lines[4].endswith("broken: no run: it has no config.yaml")
    assert lines[5].startswith("* on validation rows")
    assert not re.search(r"[\x00-\x1f]", "".join(lines))


def test_a_thin_curve_keeps_its_ends_and_spikes() -> None:
    points = [(step, 1.0 + (step % 7) / 100) for step in range(10_000)]
    points[5_001] = (5_001, 50.0)
    points[7_003] = (7_003, -50.0)
    points[3] = (3, float("nan"))
    thin = thinned(points)
    assert len(thin) <= 300
    assert thin == sorted(set(thin))
    assert set(thin) <= set(points)
    assert {points[0], points[-1], (5_001, 50.0), (7_003, -50.0)} <= set(thin)
    assert thinned(points[:2]) == points[:2]
    assert thinned([]) == []


def test_the_command_lists_without_torch(tmp_path: Path) -> None:
    finished(tmp_path / "mae-000")
    finished_task(tmp_path / "digits")
    code = (
        "import sys; from hfssl.commands.command_line import main; main(['runs', sys.argv[1]]); "
        "print(sorted({'torch', 'numpy', 'transformers', 'datasets', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[-1] == "[]"
    assert lines[-2].endswith(str(tmp_path / "index.html"))
    assert {line.split()[0] for line in lines[2:4]} == {"mae-000", "digits"}


def test_what_cannot_be_listed_says_why_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun(tmp_path / "runs" / "mae-000")
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "index.html").mkdir(parents=True)
    for folder, message in (
        ("nowhere", "nowhere does not exist: name the folder that holds run folders"),
        ("file", "file is a file: name the folder that holds run folders"),
        ("runs/mae-000", rf"is a run itself: name the folder above it, {tmp_path / 'runs'}"),
        ("taken", r"index\.html cannot be written \(Is a directory\)"),
    ):
        with pytest.raises(ConfigError, match=message):
            runs(RunsConfig(folder=str(tmp_path / folder)))
    with pytest.raises(ConfigError, match=r"--sort must be changed \| name \| .*, got 'loss'"):
        parse_plain(RunsConfig, ["--sort", "loss"])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["runs", str(tmp_path / "nowhere")])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_empty_folder_says_so_and_has_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = runs(RunsConfig(folder=str(tmp_path)))
    assert f"no run folders in {tmp_path}" in capsys.readouterr().out
    assert "No run folders yet." in index.read_text(encoding="utf-8")
