"""The report of a fine-tuned run: every number of its summary, its pictures and what speaks against it, finished or not."""

import base64
import dataclasses
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from hfssl.catalog import config_of, method_names
from hfssl.commands.finetune import finetune
from hfssl.config.parse import make_run
from hfssl.config.sections import Kind, LoopConfig, OptimConfig
from hfssl.data.images.config import ImageDataConfig
from hfssl.evaluation.table import Table
from hfssl.figures import curves as figures
from hfssl.reporting import command
from hfssl.reporting.facts import facts_of
from hfssl.reporting.kinds import KINDS
from hfssl.reporting.report import write_report
from hfssl.reporting.task_report import task_tiles
from hfssl.reporting.task_scores import all_scores, main_scores, part_tables, score_warnings
from hfssl.run_dir import RunDir
from hfssl.tasks.image_classification.config import ImageClassificationConfig
from hfssl.tasks.image_classification.objective import ImageClassification
from tests.support.finetuned_folder import NOTE, PICTURES, begun_task, class_summary, finished_task, image_classifier
from tests.support.laboratory import use_few_rows
from tests.test_report import Page


def read(run_dir: RunDir) -> Page:
    return Page(write_report(run_dir).read_text(encoding="utf-8"))


def test_scores_stand_with_interval_and_floor(tmp_path: Path) -> None:
    run_dir = finished_task(tmp_path)
    page, scores = read(run_dir), class_summary(("ant", "bee", "cow"))
    low, high = scores["accuracy_interval"]
    for shown in (
        f"{scores['accuracy']:.3f}",
        f"95 % interval {low:.3f} to {high:.3f}",
        "0.333, majority-class baseline",
        "a constant prediction",
        "Matthews correlation",
        "60 of the split test",
        NOTE,
        "weights of step 10 of 20, the best on the validation rows (accuracy 0.438)",
    ):
        assert shown in page.text
    titles = [title for title, _, _ in task_tiles(facts_of(run_dir))]
    assert titles == ["accuracy", "macro F1", "majority-class baseline"]


def test_every_picture_is_in_the_report_and_nothing_is_beside_it(tmp_path: Path) -> None:
    page = read(finished_task(tmp_path))
    embedded = {base64.b64decode(source.split(",")[1]) for source in page.values("src")}
    files = {path.name: path.read_bytes() for path in (tmp_path / "figures").glob("*.png")}
    assert set(files) == {f"{name}.png" for name in PICTURES}
    assert embedded == set(files.values())


def test_a_run_without_test_rows_has_a_report_that_says_so(tmp_path: Path) -> None:
    page = read(finished_task(tmp_path, test=False))
    assert "no scores: the data has no labelled test rows" in page.text
    assert "Not measured: the data has no labelled test rows" in page.text
    assert "By class" not in page.text


def test_a_killed_run_has_a_report_with_curves_and_no_scores(tmp_path: Path) -> None:
    page = read(begun_task(tmp_path))
    assert "not finished, at step 20 of 40" in page.text
    assert "Not measured yet: test rows are scored when the run is finished." in page.text
    assert len(page.values("src")) == 2
    assert "0.500 at step 20" in page.text  # of the validation rows


def test_what_speaks_against_the_model_comes_first(tmp_path: Path) -> None:
    run_dir = finished_task(tmp_path)
    summary: Any = run_dir.read_summary()
    assert score_warnings(summary) == []
    summary["warnings"] = ["classes are unequal: ant has 80 rows"]
    summary["scores"] |= {"unreadable_rows": 3, "accuracy_interval": [0.31, 0.5], "accuracy": 0.4}
    summary["scores"]["per_class"][0]["recall"] = 0.0
    summary["scores"]["per_class"][1] |= {"support": 0, "recall": None}
    run_dir.write_summary(summary)
    page = read(run_dir)
    for words in (
        "classes are unequal: ant has 80 rows",
        "3 test rows could not be read and were not scored",
        "accuracy 0.400 is not clearly above 0.333",
        "classes never found: ant",
        "classes without a test row: bee",
    ):
        assert -1 < page.text.find(words) < page.text.find("Scores on test rows")


def test_scores_of_any_kind_are_shown_by_name() -> None:
    scores = {
        "rows": 1200,
        "pearson": 0.81,
        "mean_squared_error": 0.25,
        "of_mean": 1.5,
        "odd_share": 0.125,
        "undefined_score": None,
        "per_type": {"PER": {"precision": 0.5, "f1": None}, "LOC": {"precision": 0.25, "f1": 0.3}},
        "mistakes": [{"row": 3}],
    }
    shown = {score.title: (score.cell.value, score.floor) for score in all_scores(scores)}
    assert shown == {
        "rows scored": ("1,200", ""),
        "Pearson correlation": ("0.810", ""),
        "mean squared error": ("0.250", "1.500, always the mean"),
        "odd share": ("0.125", ""),
        "undefined score": ("undefined", ""),
    }
    (parts,) = part_tables(scores)
    assert isinstance(parts, Table)
    assert parts.header == ["type", "precision", "F1"]
    assert [[name, *(cell.value for cell in cells)] for name, cells in parts.lines] == [
        ["PER", "0.500", "undefined"],
        ["LOC", "0.250", "0.300"],
    ]
    assert [score.name for score in main_scores(scores)] == ["pearson"]
    assert [score.name for score in main_scores({"rows": 2, "other": 0.5})] == ["other"]


def test_a_run_ends_with_its_report_and_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_few_rows()
    monkeypatch.setattr("hfssl.data.labels.MOST_RATIO", 0)
    model, processor = image_classifier()
    model.vit.save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    method = ImageClassificationConfig(model=str(tmp_path / "base"), adaptation="frozen")
    data = dataclasses.replace(ImageDataConfig.tiny(), image_size=8, num_channels=3)
    loop = LoopConfig(
        output_dir=str(tmp_path / "run"), max_steps=4, global_batch_size=8, evaluate_every=2, cpu_threads=1
    )
    run_dir = finetune(ImageClassification, make_run(method, data, OptimConfig(), loop))
    said, summary = capsys.readouterr().out, run_dir.read_summary()
    assert summary is not None
    assert f"report      {run_dir.report_file}" in said
    assert f"card        {run_dir.card_file}" in said
    for file in (run_dir.report_file, run_dir.card_file):
        assert f"{summary['scores']['accuracy']:.3f}" in file.read_text(encoding="utf-8")
        assert summary["notes"][0] in file.read_text(encoding="utf-8")
        assert "classes are unequal" in file.read_text(encoding="utf-8")
    assert str(tmp_path) not in run_dir.card_file.read_text(encoding="utf-8")
    assert (run_dir.figures / "scores.png").is_file()


def test_mistakes_that_are_texts_are_a_table(tmp_path: Path) -> None:
    run_dir = finished_task(tmp_path)
    summary: Any = run_dir.read_summary()
    hostile = "<img src=x onerror=alert(1)>"
    summary["scores"]["mistakes"] = [{"row": 1, "true": 0, "said": 2, "probability": 0.75, "text": hostile}]
    run_dir.write_summary(summary)
    page = read(run_dir)
    assert re.search(rf"{re.escape(hostile)}\s+cow\s+ant\s+0.750", page.text)
    assert "onerror" not in {name for name, _ in page.attributes}


def test_the_kept_step_is_marked_in_the_curve_of_scores(tmp_path: Path) -> None:
    run_dir = begun_task(tmp_path)
    drawn = []
    for kept in (None, 10, 20):
        figures.score_curve(run_dir, kept)
        drawn.append((run_dir.figures / "scores.png").read_bytes())
    assert len(set(drawn)) == 3


@pytest.mark.parametrize("row", [{}, {"validation/loss": 1.0}, {"validation/loss": 1.0, "validation/accuracy": None}])
def test_there_is_no_curve_of_scores_that_nobody_took(row: dict[str, Any], tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.append_metrics({"step": 1} | row)
    figures.score_curve(run_dir, 1)
    assert not (run_dir.figures / "scores.png").exists()


def test_the_report_of_a_study_shows_its_points_and_what_pretraining_is_worth(tmp_path: Path) -> None:
    run_dir = begun_task(tmp_path, ["--label_fractions", "0.1", "1", "--compare", "scratch"])
    assert run_dir.read_config()["kind"] == "label_study"
    assert "not finished" in read(run_dir).text
    point = {"labels": 20, "accuracy": 0.7, "low": 0.6, "high": 0.75}
    rows = [{"features": arm, "curve": [point, point | {"labels": 200}]} for arm in ("fine-tuned", "from scratch")]
    gain = {"labels": 20, "mean": 12.5, "low": 3.0, "high": 21.0, "sentence": "with 20 labels, 12.5 points"}
    study = {
        "rows": rows,
        "points": [{"trials": [{}], "cells": [{}, {}]}] * 4,
        "seeds": 2,
        "steps": 40,
        "gains": [gain],
        "notes": ["the rate is an end of the grid"],
        "data": "x",
    }
    run_dir.write_eval("label_study", study)
    page = read(run_dir)
    for shown in (
        "finished, a label study of 12 runs",
        "from scratch",
        "200 labels",
        "0.600 to 0.750",
        "+12.5",
        gain["sentence"],
        "grid",
    ):
        assert str(shown) in page.text


def test_every_kind_of_run_has_a_description_and_a_command() -> None:
    names = set(get_args(Kind))
    assert set(KINDS) == names
    assert set(command.FORMS) == names
    for recipe in method_names():
        assert config_of(recipe).tiny().kind in names
        assert config_of(recipe).pipeline_tag
