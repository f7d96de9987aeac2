"""The study of what pretraining is worth with few labels: its cells, its pairing, its sentence, and that it goes on."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hfssl.commands.finetune import finetune
from hfssl.config.run_config import RunConfig
from hfssl.errors import ConfigError
from hfssl.evaluation.label_curve import paired_difference
from hfssl.runs.label_study import TRIAL_SEED, _gains, _notes, _Study
from hfssl.tasks.image_classification.config import ImageClassificationConfig
from hfssl.tasks.image_classification.objective import ImageClassification
from tests.support.finetuning import task_run, write_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def study_run(folder: Path, model: Path, **task: Any) -> RunConfig:
    settings: dict[str, Any] = {"class_names": None, "label_fractions": (0.02, 0.1), "seeds": 2, "compare": "scratch"}
    return task_run(folder, model, settings | {"learning_rates": (0.001, 0.01)} | task, max_steps=2, evaluate_every=1)


def test_a_study_is_kept_paired_reproducible_and_goes_on(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = finetune(ImageClassification, study_run(tmp_path / "a", encoder))
    printed = capsys.readouterr().out
    found = run_dir.read_eval("label_study")
    points = {(point["arm"], point["share"]): point for point in found["points"]}
    assert set(points) == {(arm, share) for arm in ("fine-tuned", "from scratch") for share in (0.02, 0.1)}
    for point in points.values():
        assert [trial["rate"] for trial in point["trials"]] == [0.001, 0.01]
        assert {trial["seed"] for trial in point["trials"]} == {TRIAL_SEED}
        assert [cell["seed"] for cell in point["cells"]] == [0, 1]
        assert point["rate"] == max(point["trials"], key=lambda trial: trial["validation"])["rate"]
        assert {len(cell["right"]) for cell in point["cells"]} == {500}
    labels = [one["labels"] for one in found["rows"][0]["curve"]]
    assert labels == [20, 120]
    for gain in found["gains"]:
        right = [
            np.array([[mark == "1" for mark in cell["right"]] for cell in points[arm, gain["share"]]["cells"]])
            for arm in ("fine-tuned", "from scratch")
        ]
        assert gain["mean"] == pytest.approx(100 * (right[0].mean() - right[1].mean()))
        assert (gain["low"], gain["high"]) == tuple(100 * side for side in paired_difference(*right)[1:])
        assert gain["sentence"] in printed
    assert (run_dir.figures / "label_study.png").is_file()
    page = run_dir.report_file.read_text(encoding="utf-8")
    assert "finished, a label study of 16 runs" in page
    assert found["gains"][0]["sentence"] in page
    assert sorted(path.suffix for path in (run_dir.path / "cells").iterdir()) == [".json"] * 16

    (run_dir.path / "cells" / "fine-tuned-0.1-0.001-1000003.json").unlink()
    again = finetune(ImageClassification, study_run(tmp_path / "a", encoder)).read_eval("label_study")
    assert capsys.readouterr().out.count(" trial: ") == 1
    assert without_seconds(again) == without_seconds(found)

    def never(self: _Study, cell: Any) -> None:
        raise AssertionError("a cell that was done is done again")

    monkeypatch.setattr(_Study, "_carried_out", never)
    finetune(ImageClassification, study_run(tmp_path / "a", encoder))


def without_seconds(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: without_seconds(value) for key, value in content.items() if key != "seconds"}
    return [without_seconds(value) for value in content] if isinstance(content, list) else content


def test_scratch_gets_the_same_but_for_what_needs_a_checkpoint() -> None:
    tuned = ImageClassificationConfig(
        model="m", adaptation="lora", lora_rank=4, merge=True, mixup=0.2, class_weights="balanced", early_stopping=3
    )
    scratch = tuned.from_scratch()
    changed = {
        item.name for item in dataclasses.fields(tuned) if getattr(scratch, item.name) != getattr(tuned, item.name)
    }
    assert changed == {"model", "adaptation", "lora_rank", "merge"}
    assert ImageClassificationConfig(model="m", layer_decay=0.5).from_scratch().layer_decay == 1.0


def test_a_gain_is_in_points_and_a_rate_at_the_end_of_its_grid_is_named() -> None:
    def point(arm: str, right: str, rate: float) -> dict[str, Any]:
        trials = [{"rate": each, "validation": 0.5} for each in (0.1, 0.2, 0.3)]
        return {"arm": arm, "share": 0.5, "rate": rate, "trials": trials, "cells": [{"right": right}, {"right": right}]}

    points = [point("fine-tuned", "1110", 0.2), point("from scratch", "0100", 0.3)]
    [gain] = _gains(points, {0.5: 50})
    assert gain["mean"] == 50.0
    assert gain["low"] <= 50.0 <= gain["high"]
    assert gain["sentence"].startswith("with 50 labels, pretraining is worth +50.0 points, 95 % interval ")
    [note] = _notes(points)
    assert note.startswith("from scratch at 0.5 of the labels: the best learning rate, 3.00e-01, is an end")


@pytest.mark.parametrize(
    ("task", "says"),
    [({"test_share": 0.3, "label_share": 0.1}, "label_share"), ({"label_fractions": None}, "seeds has no effect")],
)
def test_what_makes_no_sense_in_a_study_is_refused(
    task: dict[str, Any], says: str, encoder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=says):
        study_run(tmp_path, encoder, **task)
