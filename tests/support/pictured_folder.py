"""Run folders made by hand whose figures, examples or label curves differ, for what a page shows first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from hfssl.run_dir import LABEL_STUDY, RunDir
from tests.support.finetuned_folder import begun_task
from tests.support.run_folder import finished

CURVES = ("loss", "watch")
BLANK = {"before": "the cat", "hidden": "sat", "after": "on it", "guesses": [["sat", 0.5], ["<b>", 0.25]]}
CONTINUED = {"prompt": "once upon", "continued": "a <i>time</i>"}


def pictured(path: Path, names: Sequence[str], argv: Sequence[str] = ()) -> RunDir:
    """A finished pretraining with exactly these figures, each of a colour of its own."""
    run_dir = finished(path, argv)
    (run_dir.figures / "reconstruction.png").unlink()
    for number, name in enumerate(names):
        Image.new("RGB", (12, 9), (20 * number, 30, 60)).save(run_dir.figures / f"{name}.png")
    return run_dir


def language_model(path: Path, examples: Sequence[dict[str, Any]], argv: Sequence[str] = ()) -> RunDir:
    """A finished pretraining with curves, and with these examples in its summary."""
    run_dir = pictured(path, CURVES, argv)
    summary: Any = run_dir.read_summary()
    run_dir.write_summary(summary | {"examples": list(examples)})
    return run_dir


def finished_study(path: Path) -> RunDir:
    """A study of two numbers of labels, two trials and two seeds each."""
    run_dir = begun_task(path, ["--label_fractions", "0.1", "1", "--compare", "scratch"])
    run_dir.metrics_file.unlink()
    run_dir.figures.mkdir()
    Image.new("RGB", (12, 9), (1, 2, 3)).save(run_dir.figures / f"{LABEL_STUDY}.png")
    curves = {"fine-tuned": (0.7, 0.9), "from scratch": (0.5, 0.875)}
    rows = [{"features": arm, "curve": [_point(20, few), _point(1000, many)]} for arm, (few, many) in curves.items()]
    gain = {
        "labels": 20,
        "share": 0.1,
        "mean": 20.0,
        "low": 12.0,
        "high": 28.0,
        "sentence": "with 20 labels, +20.0 points",
    }
    points = [{"arm": arm, "trials": [{}, {}], "cells": [{}, {}]} for arm in curves for _ in range(2)]
    content = {
        "output_type": LABEL_STUDY,
        "data": "demo:digits",
        "steps": 40,
        "seeds": 2,
        "rows": rows,
        "gains": [gain],
    }
    run_dir.write_eval(LABEL_STUDY, content | {"notes": ["a rate is an end of the grid"], "points": points})
    return run_dir


def _point(labels: int, accuracy: float) -> dict[str, Any]:
    return {"labels": labels, "accuracy": accuracy, "low": accuracy - 0.05, "high": accuracy + 0.05}
