"""Whether pretraining paid: accuracy against labels, fine-tuned and from scratch, with the same rows, steps and trials.

Every point of the curve is a run of its own: labels drawn by its seed, the learning rate of its arm and share, chosen on the
validation rows by one trial for each rate of a grid, of a seed that no point has. A cell is one such run; what it found is
kept, so that the same command resumes where it stopped.

S seeds, M test rows.
"""

import contextlib
import dataclasses
import json
import math
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from hfssl.config.run_config import RunConfig
from hfssl.distributed import barrier, broadcast_object, is_main_process
from hfssl.errors import Interrupted, require
from hfssl.evaluation.label_curve import interval, paired_difference
from hfssl.evaluation.table import layout_of_study, terminal_lines
from hfssl.figures.curves import label_curves
from hfssl.objective import Array
from hfssl.run_dir import LABEL_STUDY, Json, RunDir, write_text
from hfssl.runs.closing import Closing
from hfssl.runs.context import RunContext
from hfssl.runs.labelled import load_best, open_divided, predictions_on
from hfssl.runs.open_session import choose_folder, open_session
from hfssl.tasks.task import Task
from hfssl.tasks.task_config import task_settings
from hfssl.training.loop import Session, train
from hfssl.training.start import Start, environment

Arm = Literal["fine-tuned", "from scratch"]
GRID = (0.1, 0.3, 1.0, 3.0, 10.0)  # of the base learning rate
TRIAL_SEED = 1_000_003


class StudyCell(NamedTuple):
    """One run of the study. name: of its file and folder."""

    arm: Arm
    share: float
    rate: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.arm.replace(' ', '_')}-{self.share:g}-{self.rate:.3g}-{self.seed}"


def study(context: RunContext) -> RunDir:
    """All cells of `label_fractions`, the table, eval/label_study.json and figures/label_study.png.

    Raises:
        ConfigError: no test rows, or a task whose rows have no single class.
    """
    run = context.run
    opened = open_divided(run).source
    require(
        not run.loop.push_to_hub, "push_to_hub has no effect with label_fractions, which makes no model: leave it out"
    )
    require(
        task_settings(run).output_type == "classes",
        "label_fractions needs rows of one class each, for the sake of pairing them",
    )
    require(opened.test is not None, "label_fractions needs test rows")
    require(opened.validation is not None, "label_fractions needs validation rows, to choose learning rates by")
    if run.loop.max_steps is None:
        steps = math.ceil((run.loop.num_epochs or 1) * len(opened) / run.loop.global_batch_size)
        run = dataclasses.replace(run, loop=dataclasses.replace(run.loop, max_steps=steps, num_epochs=None))
    started, lock = choose_folder(run)
    run_dir = started.run_dir
    if is_main_process():
        run_dir.write_config(run.stored())
        run_dir.write_environment(environment(context.accelerator))
    study_of_run = _Study(context.with_run(run), run_dir)
    found = study_of_run.points()
    if is_main_process():
        _write(run_dir, run, found, study_of_run.num_labels())
    if lock is not None:
        lock.release()
    return run_dir


class _Study:
    def __init__(self, context: RunContext, run_dir: RunDir) -> None:
        self._context = context
        self._run = context.run
        self._settings = settings = task_settings(context.run)
        self._run_dir = run_dir
        self.arms: list[Arm] = ["fine-tuned"] if settings.compare == "none" else ["fine-tuned", "from scratch"]
        self.rates = settings.learning_rates or tuple(context.run.optim.base_learning_rate * factor for factor in GRID)

    def num_labels(self) -> dict[float, int]:
        """Labelled rows to train on, of each share."""
        return {
            share: len(open_divided(self._with_share(share)).source) for share in self._settings.label_fractions or ()
        }

    def _with_share(self, share: float) -> RunConfig:
        return dataclasses.replace(self._run, method=dataclasses.replace(self._settings, label_share=share))

    def points(self) -> list[Json]:
        """For each share and arm: its trials, its rate and its cells."""
        points = []
        for share in self._settings.label_fractions or ():
            for arm in self.arms:
                trials = [self._found(StudyCell(arm, share, rate, TRIAL_SEED)) for rate in self.rates]
                best = max(trials, key=lambda trial: trial["validation"])
                seeds = range(self._run.loop.seed, self._run.loop.seed + self._settings.seeds)
                cells = [self._found(StudyCell(arm, share, best["rate"], seed)) for seed in seeds]
                points.append({"arm": arm, "share": share, "rate": best["rate"], "trials": trials, "cells": cells})
        return points

    def _found(self, cell: StudyCell) -> Json:
        """What a cell found: from its file, or by running it now. Called by all ranks."""
        file = self._run_dir.path / "cells" / f"{cell.name}.json"
        stored = _kept(file) if is_main_process() else None
        stored = broadcast_object(stored)
        if stored is not None:
            return dict(stored)
        begun = time.perf_counter()
        found = self._carried_out(cell) | {"seconds": time.perf_counter() - begun}
        if is_main_process():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(found) + "\n")
            what = "trial" if cell.seed == TRIAL_SEED else f"seed {cell.seed}"
            print(
                f"{cell.share:g} of the labels, {cell.arm}, learning rate {cell.rate:.2e}, {what}: validation "
                f"{found['validation']:.3f}, {found['seconds']:.0f} s",
                flush=True,
            )
        return found

    def _carried_out(self, cell: StudyCell) -> Json:
        folder = RunDir(self._run_dir.path / "cells" / cell.name)
        if is_main_process():
            shutil.rmtree(folder.path, ignore_errors=True)
            folder.path.mkdir(parents=True)
        barrier()
        with _quiet(folder):
            context = self._context.with_run(self._run_of(cell, folder))
            session, _ = open_session(context, Start(folder, None, []), verbose=False)
            signal_number = train(session)
            if signal_number is not None:
                raise Interrupted(
                    signal_number, "stopped; the same command resumes with the cell that was not finished"
                )
            found = broadcast_object(self._scored(session) if is_main_process() else {})
        self._context.accelerator.free_memory()
        barrier()
        if is_main_process():
            shutil.rmtree(folder.path, ignore_errors=True)
        return {"arm": cell.arm, "share": cell.share, "rate": cell.rate, "seed": cell.seed} | found

    def _run_of(self, cell: StudyCell, folder: RunDir) -> RunConfig:
        run = self._run
        method = dataclasses.replace(
            self._settings, label_share=cell.share, label_fractions=None, learning_rates=None, compare="none", seeds=1
        )
        loop = dataclasses.replace(
            run.loop, seed=cell.seed, output_dir=str(folder.path), save_every=10**9, log_every=10**9
        )
        if cell.arm == "from scratch":
            method = method.from_scratch()
            loop = dataclasses.replace(loop, init_from=None)
        optim = dataclasses.replace(run.optim, base_learning_rate=cell.rate)
        return dataclasses.replace(run, method=method, loop=loop, optim=optim)

    def _scored(self, session: Session) -> Json:
        """Validation score of the step that was best, and which test rows its weights get right, as a text of 0 and 1."""
        task = session.objective
        assert isinstance(task, Task)
        load_best(session)
        tested = open_divided(session.run).source.test
        assert tested is not None
        pipeline = session.rows.pipeline
        examples = pipeline.whole_examples(tested)
        answers, rows = predictions_on(task.eval(), pipeline, examples, session.accelerator.device)
        is_right = {row: int(logits.argmax() == label) for row, (logits, label) in zip(rows, answers, strict=True)}
        state = session.state
        assert state.best_reached is not None
        return {
            "validation": state.best_reached[0],
            "best_step": state.best_step,
            "right": "".join(str(is_right.get(row, 0)) for row in range(len(examples))),
        }


def _kept(file: Path) -> Json | None:
    """What a cell found before; None where it did not end, or its file is damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    is_whole = isinstance(content, dict) and {"rate", "validation", "right", "seconds"} <= content.keys()
    return content if is_whole else None


@contextlib.contextmanager
def _quiet(folder: RunDir) -> Iterator[None]:
    """What a cell prints goes into its folder."""
    folder.path.mkdir(parents=True, exist_ok=True)
    with (folder.path / "log.txt").open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log):
        yield


def _right(point: Json) -> Array:
    """(S, M) bool."""
    return np.array([[mark == "1" for mark in cell["right"]] for cell in point["cells"]])


def _write(run_dir: RunDir, run: RunConfig, points: list[Json], labels: dict[float, int]) -> None:
    rows = []
    for arm in dict.fromkeys(point["arm"] for point in points):
        curve = []
        for point in points:
            if point["arm"] == arm:
                right = _right(point)
                low, high = interval(right)
                accuracy = float(right.mean())
                curve.append({"labels": labels[point["share"]], "accuracy": accuracy, "low": low, "high": high})
        rows.append({"features": arm, "curve": curve})
    gains = _gains(points, labels)
    content: Json = {
        "output_type": "label_study",
        "data": run.data.dataset,
        "steps": run.loop.max_steps,
        "seeds": task_settings(run).seeds,
        "rows": rows,
        "gains": gains,
        "notes": _notes(points),
        "points": points,
    }
    run_dir.write_eval(LABEL_STUDY, content)
    figure = run_dir.figures / f"{LABEL_STUDY}.png"
    draw = partial(label_curves, figure, rows, str(run.data.dataset), "test accuracy")
    Closing(run_dir).attempt("figure of the label study", draw)
    print()
    for line in terminal_lines(layout_of_study(content)):
        print(line)
    for line in [*(gain["sentence"] for gain in gains), *content["notes"]]:
        print(line)
    print(f"written to {run_dir.path / 'eval' / LABEL_STUDY}.json and {figure}")


def _gains(points: list[Json], labels: dict[float, int]) -> list[Json]:
    """Fine-tuned less from scratch, in points, paired over seeds and test rows."""
    by_arm = {(point["arm"], point["share"]): point for point in points}
    gains = []
    for share, count in labels.items():
        if ("from scratch", share) not in by_arm:
            continue
        difference = paired_difference(*(_right(by_arm[arm, share]) for arm in ("fine-tuned", "from scratch")))
        mean, low, high = (100 * value for value in difference)
        verdict = f"pretraining is worth {mean:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}"
        sentence = f"with {count} labels, {verdict}"
        gains.append({"labels": count, "share": share, "mean": mean, "low": low, "high": high, "sentence": sentence})
    return gains


def _notes(points: list[Json]) -> list[str]:
    """Rates that stand at an end of their grid: a wider one may change the answer."""
    notes = []
    for point in points:
        rates = [trial["rate"] for trial in point["trials"]]
        if len(rates) > 1 and point["rate"] in (min(rates), max(rates)):
            notes.append(
                f"{point['arm']} at {point['share']:g} of the labels: the best learning rate, {point['rate']:.2e}, is an end of "
                "the grid; widen it with --learning_rates"
            )
    return notes
