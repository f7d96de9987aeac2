"""Fine-tuning as a whole: rows divided, the best step kept, resume, processes, the closing scores, and clear refusals."""

import contextlib
import dataclasses
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification

from hfssl import catalog
from hfssl.commands.finetune import finetune
from hfssl.config.parse import make_run, parse
from hfssl.config.run_config import RunConfig
from hfssl.config.sections import LoopConfig, OptimConfig
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.source import open_images
from hfssl.data.labelled_splits import divided, few_labels
from hfssl.data.reading import Opened
from hfssl.data.source import Source
from hfssl.errors import ConfigError
from hfssl.run_dir import RunDir
from hfssl.runs import open_session as session
from hfssl.tasks.image_classification.config import ImageClassificationConfig
from hfssl.tasks.image_classification.objective import ImageClassification
from hfssl.training.checkpoint import TrainState, newest_whole, read_state
from hfssl.training.closing_record import read_record
from hfssl.training.labelled_validation import BestStep
from hfssl.training.loop import train
from hfssl.training.step import train_step
from tests.support.finetuning import open_task, ready, task_run, write_encoder
from tests.support.laboratory import few_rows, steps_of
from tests.support.processes import in_processes
from tests.support.ranks import Ranks

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def digits_run(folder: Path, model: Path, task: dict[str, Any] | None = None, **loop: Any) -> RunConfig:
    """Of the whole demo set, as the recipe makes it."""
    return task_run(folder, model, {"class_names": None} | (task or {}), **loop)


def labelled(splits: dict[str, list[str]], names: list[str] | None = None) -> Source:
    """Images of one pixel with these labels, the first split to train on."""
    feature = Value("string") if names is None else ClassLabel(names=names)
    features = Features({"image": Image(decode=False), "label": feature, "patient": Value("int64")})
    sets = {}
    for split, labels in splits.items():
        images = [{"bytes": b"", "path": None}] * len(labels)
        rows = {"image": images, "label": labels, "patient": [index // 2 for index in range(len(labels))]}
        sets[split] = Dataset.from_dict(rows, features=features)
    return opened(DatasetDict(sets))


def opened(sets: DatasetDict) -> Source:
    from hfssl.data import open_source as module

    data = ImageDataConfig(dataset="x", label_column="label", validation_share=0.0)
    original = module._open_splits
    module._open_splits = lambda config, reader: Opened(sets)
    try:
        return open_images(data)
    finally:
        module._open_splits = original


def run_with(**changes: Any) -> RunConfig:
    data = ImageDataConfig(dataset="x", validation_share=changes.pop("validation_share", None))
    method = ImageClassificationConfig(model="m", **changes)
    return make_run(method, data, OptimConfig(), LoopConfig(max_steps=1, seed=changes.pop("seed", 0)))


def names_of(source: Source | None) -> Counter[str]:
    assert source is not None
    labels = source.labels()
    assert labels is not None
    return Counter(source.label_name(label) for label in labels.tolist())


CATS_AND_DOGS = ["cat"] * 30 + ["dog"] * 60


def test_a_set_of_one_split_is_divided_in_three_by_class() -> None:
    parts = divided(labelled({"train": CATS_AND_DOGS}), run_with())
    sides = [names_of(side) for side in (parts.source, parts.source.validation, parts.source.test)]
    assert sides == [Counter(cat=21, dog=42), Counter(cat=3, dog=6), Counter(cat=6, dog=12)]
    assert "63 rows for training, 9 rows for validation and 18 rows for test" in parts.notes[0]


def test_a_test_split_is_scored_and_never_chooses() -> None:
    parts = divided(labelled({"train": CATS_AND_DOGS, "test": ["cat", "dog"]}), run_with())
    assert names_of(parts.source.test) == Counter(cat=1, dog=1)
    assert names_of(parts.source.validation) == Counter(cat=3, dog=6)
    both = labelled({"train": CATS_AND_DOGS, "validation": ["cat", "dog"], "test": ["dog", "cat", "cat"]})
    parts = divided(both, run_with())
    assert (len(parts.source), len(parts.source.validation or []), len(parts.source.test or [])) == (90, 2, 3)
    assert parts.notes == []


def test_the_only_other_split_is_scored_and_others_choose() -> None:
    parts = divided(labelled({"train": CATS_AND_DOGS, "validation": ["cat", "dog"]}), run_with())
    assert parts.source.test is not None
    assert parts.source.test.split == "validation"
    assert names_of(parts.source.validation) == Counter(cat=3, dog=6)


def test_groups_stay_on_one_side() -> None:
    source = labelled({"train": CATS_AND_DOGS})
    parts = divided(source, run_with(group_column="patient"))
    sides = [parts.source, parts.source.validation, parts.source.test]
    patients = [set(side.column_values("patient").tolist()) for side in sides if side is not None]
    assert len(patients) == 3
    assert not patients[0] & patients[1]
    assert not patients[0] & patients[2]
    assert not patients[1] & patients[2]


def test_a_split_does_not_follow_the_runs_seed() -> None:
    source = labelled({"train": CATS_AND_DOGS})
    run = run_with()
    other = dataclasses.replace(run, loop=dataclasses.replace(run.loop, seed=7))
    one, two = (divided(source, each).source.rows._indices.to_pydict() for each in (run, other))
    assert one == two


def test_few_labels_are_drawn_by_class_and_nested() -> None:
    classes = np.array(["a"] * 40 + ["b"] * 200 + ["c"])
    small, large = few_labels(classes, 0.05, 1), few_labels(classes, 0.5, 1)
    assert Counter(classes[small].tolist()) == Counter(a=2, b=10, c=1)
    assert set(small) <= set(large)
    assert not np.array_equal(small, few_labels(classes, 0.05, 2))


@pytest.mark.parametrize(
    ("splits", "says"),
    [
        ({"train": ["cat"] * 40}, "nothing to tell apart"),
        ({"train": CATS_AND_DOGS, "test": ["cat", "mouse"]}, "mouse"),
    ],
)
def test_labels_that_can_not_work_are_named(
    splits: dict[str, list[str]], says: str, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = labelled(splits)
    monkeypatch.setitem(session.OPENERS, "image", lambda data: source)
    with pytest.raises(ConfigError, match=says):
        finetune(ImageClassification, digits_run(tmp_path, encoder))


def test_a_test_split_without_labels_is_refused() -> None:
    bare = labelled({"train": CATS_AND_DOGS, "test": ["cat"]})
    assert bare.test is not None
    without = dataclasses.replace(bare, test=dataclasses.replace(bare.test, label_column=None))
    with pytest.raises(ConfigError, match="has no column label"):
        divided(without, run_with())


def test_the_best_step_is_the_highest_score_then_the_lowest_loss() -> None:
    state = TrainState(step=0, max_steps=9, num_rows=1, loss_scale=1.0)
    choice = BestStep("accuracy", patience=2)
    seen = []
    for step, (score, loss) in enumerate([(0.5, 1.0), (0.7, 0.9), (0.7, 0.8), (0.6, 0.1), (None, 0.1)], start=1):
        state.step = step
        best = choice.is_best(state, {"validation/accuracy": score, "validation/loss": loss})
        seen.append((best, choice.is_over(state)))
    assert seen == [(True, False), (True, False), (True, False), (False, False), (False, True)]
    assert state.best_step == 3


def test_the_export_holds_the_best_steps_weights(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = iter([0.9, 0.1, 0.5, 0.8, 0.2, 0.3, 0.4])  # of step 0, which is not trained, and of 2, 4, ...
    monkeypatch.setattr("hfssl.evaluation.scoring.classes.scores", lambda method, answers: {"accuracy": next(seen)})
    run_dir = finetune(
        ImageClassification, digits_run(tmp_path / "run", encoder, max_steps=12, evaluate_every=2, save_every=2)
    )
    best = 6
    summary = run_dir.read_summary()
    assert summary is not None
    assert summary["best_step"] == best
    assert summary["best_score"] == 0.8
    assert run_dir.checkpoint_steps() == [6, 10, 12]
    kept = load_file(run_dir.checkpoint(best) / "model.safetensors")
    exported = AutoModelForImageClassification.from_pretrained(run_dir.export).state_dict()
    assert all(torch.equal(tensor, kept[f"model.{name}"]) for name, tensor in exported.items())


def test_what_is_printed_stored_and_drawn(encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = finetune(ImageClassification, digits_run(tmp_path / "run", encoder, max_steps=4))
    printed = capsys.readouterr().out
    summary = run_dir.read_summary()
    assert summary is not None
    scores = summary["scores"]
    assert summary["test_rows"] == scores["rows"] == 500
    assert summary["train_rows"] == 1167
    assert f"accuracy    {scores['accuracy']:.3f}" in printed
    assert "1167 rows for training" in printed
    assert np.array(scores["confusion"]).sum() == 500
    assert [row["support"] for row in scores["per_class"]] == np.array(scores["confusion"]).sum(axis=1).tolist()
    for name in ("confusion", "calibration", "mistakes", "loss"):
        assert (run_dir.figures / f"{name}.png").is_file(), name
    assert not any("warnings" in row for row in run_dir.read_metrics())
    again = finetune(ImageClassification, digits_run(tmp_path / "run", encoder, max_steps=4))
    assert again.path == run_dir.path
    assert f"accuracy    {scores['accuracy']:.3f}" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["scores", "confusion figure", "curve of the scores"])
def test_a_closing_part_of_a_fine_tuning_fails_singly(
    part: str, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> None:
        raise ZeroDivisionError("a fault of a library")

    broken = {
        "scores": "hfssl.evaluation.scoring.classes.final_scores",
        "confusion figure": "hfssl.evaluation.scoring.classes.confusion_figure",
        "curve of the scores": "hfssl.figures.curves.score_curve",
    }
    monkeypatch.setattr(broken[part], fail)
    run_dir = finetune(ImageClassification, digits_run(tmp_path / "run", encoder, max_steps=2))
    assert read_record(run_dir).failed == {part: "ZeroDivisionError"}
    summary = run_dir.read_summary()
    assert summary is not None
    assert ("scores" in summary) == (part != "scores")
    figures = {file.name for file in run_dir.figures.iterdir()}
    assert "loss.png" in figures
    assert {"calibration.png", "mistakes.png"} <= figures or part == "scores"
    for page in (run_dir.report_file, run_dir.card_file):
        assert f"the {part} could not be made (ZeroDivisionError)" in page.read_text(encoding="utf-8")


def weights_after(folder: Path, encoder: Path, num_steps: int) -> dict[str, Any]:
    opened = open_task(folder, encoder, global_batch_size=8, per_device_batch_size=4)
    assert opened.layout.world_size * 4 in (4, 8)
    parts = ready(opened)
    for step, batches in enumerate(steps_of(opened, num_steps)):
        for group in parts.optimizer.param_groups:
            group["lr"] = 0.01 * group["lr_scale"]
        train_step(parts, batches, step=step, progress=step / 6, stop=False)
    validation = opened.scored
    assert validation is not None
    figures = validation.validate(opened.accelerator, opened.objective, opened.layout, 0.0)
    return {"world": opened.layout.world_size, "figures": figures, "weights": opened.objective.state_dict()}


def test_two_processes_do_what_one_does(encoder: Path, tmp_path: Path, ranks: Ranks) -> None:
    one = ranks.one(weights_after, tmp_path / "1", encoder, 2)
    two = ranks.two(weights_after, tmp_path / "2", encoder, 2)
    assert [one["world"], two[0]["world"], two[1]["world"]] == [1, 2, 2]
    assert two[0]["figures"] == two[1]["figures"]
    assert two[0]["figures"] == pytest.approx(one["figures"], abs=1e-4)
    for name, tensor in one["weights"].items():
        torch.testing.assert_close(two[0]["weights"][name], tensor, rtol=1e-3, atol=1e-4, msg=name)
        assert torch.equal(two[0]["weights"][name], two[1]["weights"][name])


def interrupted(folder: Path, encoder: Path, stop_after: int | None, **loop: Any) -> None:
    """A run that is killed hard once its checkpoint of step `stop_after` is there."""
    import hfssl.training.loop as loop_module

    save = loop_module.save

    def save_and_die(accelerator: Any, run_dir: RunDir, state: TrainState, *, keep: int) -> Any:
        save(accelerator, run_dir, state, keep=keep)
        if state.step == stop_after:
            raise KeyboardInterrupt

    loop_module.save = save_and_die  # type: ignore[assignment]
    run = digits_run(folder, encoder, loop.pop("task", None), max_steps=8, save_every=3, evaluate_every=3, **loop)
    with contextlib.suppress(KeyboardInterrupt):
        finetune(ImageClassification, run)


@pytest.mark.parametrize("task", [{}, {"adaptation": "frozen"}, {"adaptation": "lora", "mixup": 0.3}])
def test_a_killed_run_ends_bitwise_like_an_unbroken_one(task: dict[str, Any], encoder: Path, tmp_path: Path) -> None:
    in_processes(interrupted, tmp_path / "whole", encoder, None)
    in_processes(interrupted, tmp_path / "killed", encoder, 3)
    assert newest_whole(RunDir(tmp_path / "killed"))[0] == 3
    assert not RunDir(tmp_path / "killed").export.exists()
    in_processes(interrupted, tmp_path / "killed", encoder, None)
    whole, killed = (RunDir(tmp_path / name) for name in ("whole", "killed"))
    ours, theirs = (load_file(each.checkpoint(8) / "model.safetensors") for each in (whole, killed))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    states = [dataclasses.asdict(read_state(each, 8)) for each in (whole, killed)]
    assert states[0] == states[1]
    assert whole.read_summary() == killed.read_summary()


def test_early_stopping_ends_a_run_for_good(encoder: Path, tmp_path: Path) -> None:
    opened = open_task(tmp_path, encoder, {"early_stopping": 2}, max_steps=40, evaluate_every=2)
    assert opened.scored is not None
    worse = iter(range(100))
    opened.scored = dataclasses.replace(
        opened.scored, scores=lambda answers: {"accuracy": 1.0 / (1 + next(worse)), "macro_f1": None}
    )
    assert train(opened) is None
    assert opened.state.step == 6
    assert opened.state.best_step == 2
    assert read_state(RunDir(tmp_path), 6).looks_since_best == 2
    state = read_state(RunDir(tmp_path), 6)
    again = open_task(tmp_path, encoder, {"early_stopping": 2}, state, max_steps=40, evaluate_every=2)
    assert train(again) is None
    assert again.state.step == 6


def test_labels_weights_below_one_do_not_shrink_a_step(encoder: Path, tmp_path: Path) -> None:
    """The gradient is that of the mean over weighted targets, also where these sum to less than one."""
    opened = open_task(tmp_path, encoder, global_batch_size=1)
    task: Any = opened.objective
    task.class_weights_C.fill_(0.25)
    parts = ready(opened)
    seen = []
    parts.objective.on_gradients_ready = lambda progress: seen.append(task.model.classifier.weight.grad.clone())  # type: ignore[method-assign]
    [batches] = steps_of(opened, 1)
    train_step(parts, batches, step=0, progress=0.0, stop=False)
    other = open_task(tmp_path, encoder, global_batch_size=1)
    parts = ready(other)
    free: Any = other.objective
    parts.objective.on_gradients_ready = lambda progress: seen.append(free.model.classifier.weight.grad.clone())  # type: ignore[method-assign]
    [batches] = steps_of(other, 1)
    train_step(parts, batches, step=0, progress=0.0, stop=False)
    torch.testing.assert_close(seen[0], seen[1])


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--model", "m", "--stop_on_collapse"], "--stop_on_collapse has no effect in fine-tuning"),
        (
            ["--model", "m", "--adaptation", "frozen", "--mixup", "0.2"],
            "--mixup has no effect with --adaptation frozen",
        ),
        (["--model", "m", "--adaptation", "lora", "--layer_decay", "0.5"], "--layer_decay has no effect"),
        (["--model", "m", "--lora_rank", "4"], "lora_rank has no effect"),
        (["--model", "m", "--label_share", "0"], "label_share must be in"),
        (["--model", "m", "--class_weight", "balanced"], "class_weights"),
    ],
)
def test_flags_without_effect_or_sense_are_refused(flags: list[str], says: str) -> None:
    config = catalog.task_config_of("image_classification")
    with pytest.raises(ConfigError, match=says):
        parse(config, ImageDataConfig, ["--dataset", "demo:digits", *flags])


@pytest.mark.parametrize(
    ("task", "loop", "says"),
    [
        ({"model": None}, {}, "name the checkpoint with --model"),
        ({"model": None, "adaptation": "lora"}, {"model_config": "resnet18"}, "adaptation lora needs --model"),
        ({"model": "/nowhere/at/all"}, {}, "--model /nowhere/at/all does not exist"),
        ({}, {"init_from": "elsewhere"}, "--init_from has no effect: name the checkpoint with --model"),
    ],
)
def test_a_model_that_can_not_work_is_refused(
    task: dict[str, Any], loop: dict[str, Any], says: str, encoder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=says):
        finetune(ImageClassification, digits_run(tmp_path, encoder, task, **loop))


def test_the_settings_of_a_run_start_it_again(encoder: Path, tmp_path: Path) -> None:
    first = finetune(ImageClassification, digits_run(tmp_path / "first", encoder, max_steps=1))
    config = catalog.task_config_of("image_classification")
    again = parse(
        config, ImageDataConfig, ["--config", str(first.config_file), "--output_dir", str(tmp_path / "again")]
    )
    second = finetune(ImageClassification, again)
    ours, theirs = first.read_summary(), second.read_summary()
    assert ours is not None
    assert theirs is not None
    assert ours["scores"] == theirs["scores"]


def test_a_network_is_trained_from_scratch_by_its_config(encoder: Path, tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run", encoder, {"model": None}, max_steps=1, model_config=str(encoder))
    run_dir = finetune(ImageClassification, run)
    summary = run_dir.read_summary()
    assert summary is not None
    assert summary["scores"]["rows"] == 500


def test_help_and_mistakes_answer_before_torch() -> None:
    code = (
        "import sys, runpy; sys.argv = ['finetune.py', '--task', 'image_classification', *sys.argv[1:]]; code = 0\n"
        "try: runpy.run_path('recipes/finetune.py', run_name='__main__')\n"
        "except SystemExit as stop: code = stop.code\n"
        "print('code', code, 'torch' in sys.modules)"
    )
    for flags, code_expected in ((["--help"], 0), (["--mode", "x"], 2)):
        done = subprocess.run(
            [sys.executable, "-c", code, *flags], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert f"code {code_expected} False" in done.stdout, done.stderr


def test_a_task_that_does_not_exist_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "recipes/finetune.py", "--task", "divination"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "image_classification" in done.stderr
    assert done.stderr.count("\n") == 1
    assert json.dumps(done.stderr).isascii()


def test_rows_that_can_not_be_read_are_not_scored(encoder: Path, tmp_path: Path) -> None:
    source = few_rows(60)
    broken = source.rows.add_column("number", list(range(60))).map(
        lambda row: row if row["number"] != 45 else row | {"image": {"bytes": b"no image", "path": None}}
    )
    broken = broken.remove_columns("number").cast_column("image", Image(decode=False))
    whole = dataclasses.replace(source, rows=broken, all_rows=broken)
    train_rows, test = whole.part(np.arange(40)), dataclasses.replace(whole.part(np.arange(40, 60)), split="test")
    original = session.OPENERS["image"]
    session.OPENERS["image"] = lambda data: dataclasses.replace(train_rows, test=test)
    try:
        run_dir = finetune(ImageClassification, digits_run(tmp_path / "run", encoder, max_steps=1))
    finally:
        session.OPENERS["image"] = original
    summary = run_dir.read_summary()
    assert summary is not None
    assert (summary["scores"]["rows"], summary["scores"]["unreadable_rows"]) == (19, 1)
