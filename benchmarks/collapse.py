"""Does the monitor see a collapse and name its cause, and is it silent where nothing is wrong?

    python benchmarks/collapse.py digits
    python benchmarks/collapse.py path/to/fashion_mnist

Healthy runs of the five methods that compare views with three seeds each, and runs with one thing wrong; 150 steps each.
Thresholds were fixed on the digits; the other data set was only looked at. A folder holds train.parquet and test.parquet, of
which 3,000 training rows are taken. Results go to benchmarks/results/collapse.json, a part for each data set.
"""

import argparse
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from datasets import Dataset, load_dataset

from hfssl import catalog
from hfssl.config.parse import parse
from hfssl.config.run_config import RunConfig
from hfssl.console import quieten_libraries
from hfssl.data.demo.sets import digits
from hfssl.errors import TrainingError
from hfssl.run_dir import RunDir
from hfssl.runs.context import RunContext
from hfssl.runs.open_session import open_session
from hfssl.training.accelerator import start
from hfssl.training.loop import Session, train
from hfssl.training.start import Start, cpu_name, versions

RESULTS = Path(__file__).resolve().parent / "results" / "collapse.json"
NUM_ROWS = 3000
RATE = 1e-3
SHARED = {
    "config": "demo",
    "pooling": "mean_patches",
    "image_size": "16",
    "hidden_size": "48",
    "num_hidden_layers": "2",
    "global_batch_size": "64",
    "max_steps": "150",
    "log_every": "10",
    "evaluate_every": "50",
    "save_every": "1000",
    "cpu_threads": "1",
}
METHODS: dict[str, dict[str, str]] = {
    "simclr": {},
    "moco": {"queue_size": "512", "teacher_momentum": "0.95"},
    "byol": {"teacher_momentum": "0.95"},
    "swav": {"sinkhorn_epsilon": "0.03", "num_prototypes": "32", "projection_size": "16"},
    "dino": {
        "num_prototypes": "64",
        "projection_size": "16",
        "head_batch_norm": "false",
        "teacher_temperature": "0.04",
        "initial_teacher_temperature": "0.04",
        "num_local_crops": "2",
        "local_crop_size": "8",
    },
}
PLAIN_VIEWS = {"crop_scale": "1 1", "affine_probability": "0", "jitter_probability": "0", "noise_probability": "0"}
PLAIN_VIEWS_OF_OBJECTS = {
    "crop_scale": "1 1",
    "horizontal_flip_probability": "0",
    "jitter_probability": "0",
    "grey_probability": "0",
}
FAILURES: list[tuple[str, str, dict[str, str], str]] = [
    ("byol", "no prediction head", {"prediction_hidden_size": "0"}, "constant_embeddings"),
    ("dino", "no centring", {"centre_momentum": "1"}, "few_outputs"),
    (
        "dino",
        "teacher temperature 1",
        {"teacher_temperature": "1", "initial_teacher_temperature": "1"},
        "uniform_output",
    ),
    ("swav", "codes too smooth", {"sinkhorn_epsilon": "5"}, "uniform_output"),
    ("swav", "codes not balanced", {}, "few_outputs"),
    *((name, "teacher never moves", {"teacher_momentum": "1"}, "still_teacher") for name in ("moco", "byol", "dino")),
    *((name, "teacher is the student", {}, "shared_teacher") for name in ("moco", "byol", "dino")),
    *((name, "learning rate x 100", {"base_learning_rate": str(100 * RATE)}, "grown_weights") for name in METHODS),
    ("simclr", "learning rate 0", {"base_learning_rate": "0"}, "still_weights"),
    ("simclr", "weight decay 200", {"weight_decay": "200"}, "vanished_weights"),
    ("byol", "one image a thousand times", {}, "equal_images"),
    ("simclr", "augmentation off", {}, "equal_views"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    arguments = parser.parse_args()
    quieten_libraries()
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = digits()["train"] if arguments.data == "digits" else rows_of(Path(arguments.data))
        rows.save_to_disk(str(folder / "rows"))
        rows.select([0] * 1000).save_to_disk(str(folder / "one_image"))
        for name, what, flags, seed, expected in jobs(arguments.data == "digits"):
            data = folder / ("one_image" if expected == "equal_images" else "rows")
            result = run_once(name, what, flags | {"dataset": str(data), "seed": str(seed)}, folder / f"{len(runs)}")
            runs.append({"method": name, "what": what, "flags": flags, "seed": seed, "expected": expected} | result)
            shown = {key: runs[-1][key] for key in ("method", "what", "seed", "expected", "alarms", "knn", "seconds")}
            print(json.dumps(shown), flush=True)
            write(arguments.data, runs)


def rows_of(folder: Path) -> Dataset:
    return (
        load_dataset("parquet", data_files=str(folder / "train.parquet"))["train"]
        .shuffle(seed=0)
        .select(range(NUM_ROWS))
    )


def jobs(is_digits: bool) -> Iterator[tuple[str, str, dict[str, str], int, str | None]]:
    views = {"augmentation": "digits" if is_digits else "small"}
    for name in METHODS:
        for seed in range(3):
            yield name, "healthy", views | {"base_learning_rate": str(RATE)}, seed, None
    for name, what, flags, sign in FAILURES:
        if sign == "equal_views":
            flags = PLAIN_VIEWS if is_digits else PLAIN_VIEWS_OF_OBJECTS
        yield name, what, views | {"base_learning_rate": str(RATE)} | flags, 0, sign


def run_once(name: str, what: str, flags: dict[str, str], run_dir: Path) -> dict[str, Any]:
    """Alarms and figures of one run; what is no flag is done to the session."""
    run_dir.mkdir()
    config_class, objective_class = catalog.method(name)
    argv = [
        text
        for key, value in (SHARED | METHODS[name] | {"output_dir": str(run_dir)} | flags).items()
        for text in (f"--{key}", *value.split())
    ]
    run: RunConfig = parse(config_class, catalog.DATA_CONFIGS["image"], argv)
    session, _ = open_session(RunContext(objective_class, run, None, start(run.loop)), Start(RunDir(run_dir), None, []))
    began, error = time.perf_counter(), None
    with MISTAKES.get(what, none)(session):
        try:
            train(session)
        except TrainingError as problem:
            error = str(problem)
    rows = session.run_dir.read_metrics()
    looks = session.run_dir.validation_rows()
    first = next((row["step"] for row in rows if row.get("warnings")), None)
    return {
        "alarms": [alarm.sign for alarm in session.collapse_monitor.alarms],
        "ever": sorted({_without_figure(text) for row in rows for text in row.get("warnings", [])}),
        "first_alarm_at": first,
        "sentences": [alarm.sentence for alarm in session.collapse_monitor.alarms],
        "error": error,
        "knn": [round(row["validation/knn"], 3) for row in looks if "validation/knn" in row],
        "seconds": round(time.perf_counter() - began, 1),
        "rows": [
            {key: _short(value) for key, value in row.items() if not key.startswith("time/")} for row in rows[::4]
        ],
    }


@contextmanager
def none(session: Session) -> Iterator[None]:
    yield


@contextmanager
def shared_teacher(session: Session) -> Iterator[None]:
    """The teacher is built on the student itself instead of a copy."""
    objective: Any = session.objective
    objective.teacher.network = objective.student()
    yield


@contextmanager
def unbalanced_codes(session: Session) -> Iterator[None]:
    """Codes are a softmax of the scores: nothing shares the prototypes out."""

    def softmax_codes(scores_BK: torch.Tensor, *, epsilon: float, **_: Any) -> torch.Tensor:
        return torch.softmax(scores_BK / epsilon, dim=1)

    with patch("hfssl.methods.swav.objective.sinkhorn", softmax_codes):
        yield


MISTAKES: dict[str, Callable[[Session], Any]] = {
    "teacher is the student": shared_teacher,
    "codes not balanced": unbalanced_codes,
}


def _without_figure(sentence: str) -> str:
    """What an alarm says, up to the figure that changes from row to row."""
    return re.split(r" \(| since| by | to \d", sentence)[0]


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def write(data: str, runs: list[dict[str, Any]]) -> None:
    name = Path(data).name
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    healthy = [run for run in runs if run["expected"] is None]
    failures = [run for run in runs if run["expected"] is not None]
    stored[name] = {
        "command": f"python benchmarks/collapse.py {name if data == 'digits' else f'path/to/{name}'}",
        "versions": versions(),
        "cpu": cpu_name(),
        "shared_flags": SHARED,
        "method_flags": METHODS,
        "healthy_runs": len(healthy),
        "healthy_runs_with_an_alarm": sum(bool(run["ever"]) for run in healthy),
        "failures": len(failures),
        "failures_with_the_right_alarm_alone": sum(run["alarms"] == [run["expected"]] for run in failures),
        "runs": runs,
    }
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
