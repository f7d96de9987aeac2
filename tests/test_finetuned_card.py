"""The card of a fine-tuned model: its numbers are those of the folder, its snippet runs, and it names nothing local."""

import ast
import copy
import getpass
import re
import shlex
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from PIL import Image
from transformers import BertForSequenceClassification

from hfssl.checkpoints.exports import describe_export, write_export
from hfssl.config.parse import parse
from hfssl.config.run_config import RunConfig
from hfssl.data.images.config import ImageDataConfig
from hfssl.objective import Export
from hfssl.reporting.card import LOCAL_DATA, card_of, write_card
from hfssl.reporting.command import public_command
from hfssl.reporting.fine_tuned import FineTuned
from hfssl.reporting.task_usage import task_usage
from hfssl.run_dir import RunDir
from hfssl.tasks.image_classification.config import ImageClassificationConfig
from tests.support.finetuned_folder import (
    CLASSES,
    NOTE,
    adapter_folder,
    begun_task,
    finished_task,
    image_classifier,
    model_of,
    text_model,
)

HOSTILE = "x\n---\n# Big ![i](http://a.b/c) <script>alert(1)</script> `a` |b| [l](http://d.e) www.f.g"


def written(run_dir: RunDir) -> str:
    return write_card(run_dir).read_text(encoding="utf-8")


def summary_of(run_dir: RunDir) -> dict[str, Any]:
    found = run_dir.read_summary()
    assert found is not None
    return found


def set_accuracy(scores: dict[str, Any]) -> tuple[float, float]:
    old, scores["accuracy"] = scores["accuracy"], 0.9137
    return old, 0.9137


def set_floor(scores: dict[str, Any]) -> tuple[float, float]:
    old, scores["most_frequent_share"] = scores["most_frequent_share"], 0.3517
    return old, 0.3517


def set_matthews(scores: dict[str, Any]) -> tuple[float, float]:
    old, scores["matthews_correlation"] = scores["matthews_correlation"], 0.5237
    return old, 0.5237


def set_recall_of_one_class(scores: dict[str, Any]) -> tuple[float, float]:
    old, scores["per_class"][1]["recall"] = scores["per_class"][1]["recall"], 0.6237
    return old, 0.6237


def set_interval(scores: dict[str, Any]) -> tuple[float, float]:
    old, scores["accuracy_interval"][0] = scores["accuracy_interval"][0], 0.5113
    return old, 0.5113


@pytest.mark.parametrize("change", [set_accuracy, set_floor, set_matthews, set_recall_of_one_class, set_interval])
def test_a_number_that_changes_in_the_folder_changes_alone_in_the_card(
    change: Callable[[dict[str, Any]], tuple[float, float]], tmp_path: Path
) -> None:
    run_dir = finished_task(tmp_path)
    before, summary = written(run_dir).split(), copy.deepcopy(summary_of(run_dir))
    old, new = change(summary["scores"])
    run_dir.write_summary(summary)
    after = written(run_dir).split()
    changed = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
    assert changed
    for one, other in changed:
        assert other in (one.replace(f"{old:.3f}", f"{new:.3f}"), one.replace(f"{round(old, 4)}", f"{round(new, 4)}"))
    in_head = change in (set_accuracy, set_matthews)  # a score that the Hub has a name for stands there too
    assert len(changed) == 1 + in_head


def test_the_hub_reads_task_scores_and_base_in_the_head(tmp_path: Path) -> None:
    run_dir = finished_task(tmp_path)
    card = ModelCard.load(write_card(run_dir))
    assert (card.data.pipeline_tag, card.data.library_name, card.data.base_model) == (
        "image-classification",
        "transformers",
        "someone/vit",
    )
    assert "pretraining" not in card.data.tags
    scores = summary_of(run_dir)["scores"]
    found = {result.metric_type: (result.metric_value, result.task_type) for result in card.data.eval_results}
    assert found["accuracy"] == (round(scores["accuracy"], 4), "image-classification")
    assert found["f1"][0] == round(scores["macro_f1"], 4)
    assert {result.dataset_split for result in card.data.eval_results} == {"test"}


def test_results_stand_with_interval_floor_protocol_and_classes(tmp_path: Path) -> None:
    run_dir = finished_task(tmp_path)
    text, scores = written(run_dir), summary_of(run_dir)["scores"]
    low, high = scores["accuracy_interval"]
    said = f"| accuracy | {scores['accuracy']:.3f} ({low:.3f} to {high:.3f}) | 0.333, majority-class baseline |"
    for line in (
        said,
        "On 60 rows of the split test",
        f"Rows: {NOTE}.",
        "Classes, in the order of their numbers: ant, bee, cow.",
        "weights of step 10 of 20, the best on the validation rows (accuracy 0.438)",
        "The body is that of someone/vit, the head is new; only the head was trained",
        "the spread over seeds was not measured",
    ):
        assert line in text
    for row in scores["per_class"]:
        assert f"| {row['class']} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} | 20 |" in text


def test_without_test_rows_nothing_is_claimed(tmp_path: Path) -> None:
    run_dir = finished_task(tmp_path)
    summary = summary_of(run_dir)
    for key in ("scores", "test_rows", "test_split"):
        del summary[key]
    run_dir.write_summary(summary)
    for text in (written(run_dir), written(finished_task(tmp_path / "other", test=False))):
        assert "Scores: not measured." in text
        assert "| test rows | not measured |" in text
        assert "model-index" not in text
        assert "By class" not in text


def test_a_killed_fine_tuning_has_a_card(tmp_path: Path) -> None:
    text = written(begun_task(tmp_path))
    for line in ("not finished, at step 20 of 40", "There is no export yet.", "Scores: not measured."):
        assert line in text
    assert "pipeline_tag" not in text


def test_no_local_path_host_or_user_name_is_in_the_card(tmp_path: Path) -> None:
    data, base = tmp_path / "canary-data", tmp_path / "canary-base"
    data.mkdir()
    Image.new("RGB", (8, 8)).save(data / "a.png")
    adapter, _ = adapter_folder(base)
    run_dir = finished_task(tmp_path / "canary-run", ["--dataset", str(data), "--model", str(base)])
    adapter.rename(run_dir.path / "adapter")
    (run_dir.export).rename(run_dir.path / "whole")
    (run_dir.path / "adapter").rename(run_dir.export)
    summary = summary_of(run_dir)
    summary["data"] = str(data)
    summary["scores"]["mistakes"][0]["text"] = "canary-text"
    run_dir.write_summary(summary)
    assert "canary" in (run_dir.export / "adapter_config.json").read_text()
    text = written(run_dir)
    for secret in ("canary", str(tmp_path), str(Path.home()), socket.gethostname(), f"/{getpass.getuser()}"):
        assert secret not in text
    for line in (LOCAL_DATA, "a local checkpoint", "--model path/to/checkpoint", "a checkpoint that is not on the Hub"):
        assert line in text
    assert "mistakes.png" not in text  # a picture of local data
    assert "figures/scores.png" in text
    assert ModelCard(text).data.base_model is None


def test_what_users_wrote_is_text_and_no_markup(tmp_path: Path) -> None:
    run_dir = finished_task(tmp_path, classes=(HOSTILE, "bee", "cow"))
    summary = summary_of(run_dir)
    summary["warnings"] = [f"classes are unequal: {HOSTILE}"]
    summary["notes"] = [HOSTILE]
    run_dir.write_summary(summary)
    card = ModelCard(written(run_dir))
    parser = MarkdownIt("gfm-like", {"linkify": False})
    tokens = [inner for token in parser.parse(card.text) for inner in (token, *(token.children or []))]
    assert not [token for token in tokens if token.type.startswith("html") or token.type == "link_open"]
    assert all(str(token.attrs["src"]).startswith("figures/") for token in tokens if token.type == "image")
    assert not [token for token in tokens if token.type == "inline" and token.content == "Big"]


def as_opened(run: RunConfig) -> dict[str, Any]:
    """config.yaml of a run that began: its checkpoint stands in both places."""
    stored = run.stored()
    stored["loop"]["init_from"] = run.method.model
    return stored


def again(command: str) -> RunConfig:
    """The run that a card's command starts."""
    words = shlex.split(command)
    assert words[:4] == ["hfssl", "finetune", "--task", "image_classification"]
    return parse(ImageClassificationConfig, ImageDataConfig, words[4:])


@pytest.mark.parametrize(
    "flags",
    [
        ["--config", "lora", "--lora_rank", "4", "--merge", "true", "--augmentation", "digits"],
        ["--config", "frozen", "--label_share", "0.5", "--class_names", "b", "a"],
        ["--config", "small", "--adaptation", "frozen", "--test_share", "0.3"],
        ["--mixup", "0.2", "--group_column", "patient", "--seed", "3"],
    ],
)
def test_the_command_makes_the_same_run(flags: list[str]) -> None:
    argv = ["--dataset", "someone/textures", "--model", "someone/vit", *flags]
    run = parse(ImageClassificationConfig, ImageDataConfig, argv)
    assert again(public_command(as_opened(run), {})).digest() == run.digest()


def test_the_command_of_settings_in_a_file_makes_the_same_run(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("method: {adaptation: frozen, label_share: 0.5}\nloop: {num_epochs: 2}\n")
    argv = ["--dataset", "someone/textures", "--model", "someone/vit", "--config", str(mine)]
    run = parse(ImageClassificationConfig, ImageDataConfig, argv)
    same = again(public_command(as_opened(run), {}))
    assert (same.method.adaptation, same.method.label_share, same.loop.num_epochs) == ("frozen", 0.5, 2)
    assert same.optim == run.optim


def run_snippet(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(text, names)
    return names


@pytest.mark.parametrize(
    "tag",
    [
        "image-classification",
        "text-classification",
        "token-classification",
        "question-answering",
        "audio-classification",
        "automatic-speech-recognition",
    ],
)
def test_the_snippet_of_every_task_runs_beside_its_export(
    tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, processor = model_of(tag, tmp_path)
    write_export(Export(model, processor), tmp_path / "export")
    exported = describe_export(tmp_path / "export")
    assert exported is not None
    assert exported.task == tag
    run_snippet(task_usage(exported, "export", CLASSES, "classes"), tmp_path, monkeypatch)
    out = capsys.readouterr().out
    if tag in ("image-classification", "text-classification", "audio-classification"):
        assert any(f"'label': '{name}'" in out for name in CLASSES)
    assert exported.sampling_rate == (8_000 if "audio" in tag or "speech" in tag else None)


@pytest.mark.parametrize("num_channels", [1, 5])
def test_the_snippet_runs_where_images_are_not_rgb(
    num_channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_export(Export(*image_classifier(num_channels)), tmp_path / "export")
    exported = describe_export(tmp_path / "export")
    assert exported is not None
    run_snippet(task_usage(exported, "export", CLASSES, "classes"), tmp_path, monkeypatch)
    assert capsys.readouterr().out.strip() in CLASSES


INPUTS = {
    "image-classification": {"pixel_values": torch.linspace(-1, 1, 192).view(1, 3, 8, 8)},
    "text-classification": {"input_ids": torch.tensor([[2, 3, 4]])},
    "audio-classification": {"input_values": torch.linspace(-1, 1, 1600).cos()[None]},
    "automatic-speech-recognition": {"input_values": torch.linspace(-1, 1, 1600).sin()[None]},
}


@pytest.mark.versions
@pytest.mark.parametrize("tag", INPUTS)
def test_the_snippet_of_an_adapter_opens_the_adapted_model(
    tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = adapter_folder(tmp_path, tag)
    exported = describe_export(folder)
    assert exported is not None
    assert (exported.task, exported.num_channels, exported.base) == (tag, 3, str(tmp_path / "base"))
    class_names = None if tag == "automatic-speech-recognition" else CLASSES
    names = run_snippet(task_usage(exported, "export", class_names, "classes"), tmp_path, monkeypatch)
    with torch.inference_mode():
        expected, found = model(**INPUTS[tag]).logits, names["model"](**INPUTS[tag]).logits
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    if class_names is not None:
        assert list(names["model"].config.id2label.values()) == list(CLASSES)


def test_the_snippet_of_a_regression_gives_the_number_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, tokenizer = text_model(BertForSequenceClassification, num_labels=1)
    write_export(Export(model, tokenizer), tmp_path / "export")
    exported = describe_export(tmp_path / "export")
    assert exported is not None
    names = run_snippet(task_usage(exported, "export", None, "numbers"), tmp_path, monkeypatch)
    with torch.inference_mode():
        expected = model(**tokenizer("your text", return_tensors="pt")).logits.item()
    (said,) = ast.literal_eval(capsys.readouterr().out)
    assert said["score"] == pytest.approx(expected, abs=1e-5)
    assert "pipeline" in names


def test_a_card_is_of_pretraining_or_of_fine_tuning(tmp_path: Path) -> None:
    card = card_of(finished_task(tmp_path))
    assert isinstance(card.kind, FineTuned)
    assert "lora_rank" not in card.settings["method"]  # settings that were left alone
    assert "init_from" not in card.settings["loop"]  # --model says it
    assert re.fullmatch(r"image-classification-digits", card.name)
