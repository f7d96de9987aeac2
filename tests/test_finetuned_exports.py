"""An export of a fine-tuned run, made later from a checkpoint, is the run's own, file by file, without the data."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCTC

from hfssl.catalog import task
from hfssl.checkpoints.adapter_files import adapter_at
from hfssl.commands.export import export_checkpoint
from hfssl.commands.export_config import ExportConfig
from hfssl.commands.finetune import finetune
from hfssl.config.run_config import RunConfig
from hfssl.errors import ConfigError
from hfssl.run_dir import RunDir
from hfssl.runs.open_session import OPENERS
from hfssl.training.checkpoint import read_state
from tests.support import finetuning, speech_models, texts_with_labels
from tests.support.texts_with_labels import classes, question_rows, table, tagged

pytestmark = pytest.mark.versions
LOOP = {"max_steps": 4, "save_every": 2, "evaluate_every": 2}
TEXTS: dict[str, tuple[Callable[[Path], str], dict[str, Any]]] = {
    "sequence_classification": (classes, {"text_column": "text", "class_weights": "balanced"}),
    "token_classification": (tagged, {"class_weights": "balanced"}),
    "question_answering": (lambda file: table(question_rows(), file), {"doc_stride": 4}),
}
LORA = {"adaptation": "lora", "lora_rank": 2}
RUNS = [
    ("image_classification", {}),
    ("image_classification", {"adaptation": "frozen"}),
    ("image_classification", LORA),
    ("sequence_classification", {"adaptation": "frozen"}),
    ("sequence_classification", LORA),
    ("token_classification", {}),
    ("question_answering", LORA),
    ("audio_classification", {}),
    ("audio_classification", LORA),
    ("speech_recognition", {}),
    ("speech_recognition", LORA),
]


def run_of(name: str, folder: Path, own_folder: str = "run", **method: Any) -> RunConfig:
    if name in TEXTS:
        write, own = TEXTS[name]
        model = texts_with_labels.checkpoint("bert", folder / "model")
        settings = own | method
        return texts_with_labels.run_of(
            name, model, write(folder / "rows.jsonl"), folder / own_folder, loop=LOOP, **settings
        )
    if name == "image_classification":
        base = finetuning.write_encoder(folder / "model")
        return finetuning.task_run(folder / own_folder, base, {"class_names": None} | method, **LOOP)
    base = speech_models.write_encoder("layer", folder / "model")
    rows = speech_models.few_transcribed() if name == "speech_recognition" else None
    speech_models.use_few_recordings(rows)
    return speech_models.task_run(name, base, folder / own_folder, method, **LOOP)


def trained(name: str, folder: Path, own_folder: str = "run", **method: Any) -> RunDir:
    return finetune(task(name)[1], run_of(name, folder, own_folder, **method))  # type: ignore[arg-type]


def without_data(run_dir: RunDir) -> RunDir:
    """The run elsewhere, where neither its data nor its own export can be found."""
    for name in OPENERS:
        OPENERS[name] = lambda data: pytest.fail("the data was opened")
    shutil.rmtree(run_dir.export)
    (run_dir.path.parent / "rows.jsonl").unlink(missing_ok=True)
    return run_dir


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def exported(run_dir: RunDir, **flags: Any) -> Path:
    return export_checkpoint(ExportConfig(run=str(run_dir.path), **flags))


@pytest.mark.parametrize(("name", "method"), RUNS)
def test_an_export_made_later_is_the_runs_own_file_by_file(
    name: str, method: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = trained(name, tmp_path, **method)
    own, best = content(run_dir.export), read_state(run_dir, 4).best_step
    without_data(run_dir)
    capsys.readouterr()
    assert exported(run_dir) == run_dir.export
    assert content(run_dir.export) == own
    assert f"step {best}, the best on the validation rows, of" in capsys.readouterr().out
    assert exported(run_dir, step=best) == run_dir.path / f"export-step_{best:08d}"
    assert content(run_dir.path / f"export-step_{best:08d}") == own


MERGED: list[tuple[str, dict[str, Any]]] = [
    ("image_classification", {}),
    ("sequence_classification", {}),
    ("token_classification", {}),
    ("question_answering", {}),
    ("audio_classification", {"layer_sum": False}),  # which --merge would turn on
    ("speech_recognition", {}),
]


@pytest.mark.parametrize(("name", "unlike"), MERGED)
def test_merging_later_is_having_trained_with_merge(name: str, unlike: dict[str, Any], tmp_path: Path) -> None:
    run_dir, whole = (
        trained(name, tmp_path, **LORA),
        trained(name, tmp_path, "whole", **LORA | {"merge": True} | unlike),
    )
    adapter, own = content(run_dir.export), content(whole.export)
    assert adapter_at(run_dir.export) is not None
    without_data(run_dir)
    folder = exported(run_dir, merge=True)
    assert folder == run_dir.path / "export-merged"
    assert content(folder) == own
    exported(run_dir)
    assert content(run_dir.export) == adapter
    with pytest.raises(ConfigError, match=r"merge has no effect: .* exports the whole model anyway"):
        exported(whole, merge=True)


def test_the_best_step_is_exported_else_the_newest_that_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = iter([0.1, 0.9, 0.2, 0.1])  # of the steps 0, 2, 4 and of the end
    monkeypatch.setattr("hfssl.evaluation.scoring.tags.scores", lambda method, answers: {"f1": next(seen)})
    monkeypatch.setattr("hfssl.evaluation.scoring.tags.final_scores", lambda *given: {"rows": 0})
    monkeypatch.setattr("hfssl.commands.finetune._print_summary", lambda run_dir: None)
    monkeypatch.setattr("hfssl.runs.closing.Closing.write_pages", lambda closing: None)
    run_dir = trained("token_classification", tmp_path)
    own = content(run_dir.export)
    assert read_state(run_dir, 4).best_step == 2
    exported(run_dir)
    assert content(run_dir.export) == own
    assert content(exported(run_dir, step=4)) != own
    (run_dir.checkpoint(2) / "model.safetensors").unlink()
    capsys.readouterr()
    assert content(exported(run_dir)) == content(run_dir.path / "export-step_00000004")
    said = capsys.readouterr().out
    assert "step 2, the best on the validation rows, has no whole checkpoint (" in said
    assert "step 4, the newest, of" in said
    with pytest.raises(ConfigError, match=r"merge has no effect: .* trained no adapter"):
        exported(run_dir, merge=True)


def test_the_characters_of_a_recogniser_are_given_or_found_and_cover_the_training_rows(tmp_path: Path) -> None:
    found = RunDir(tmp_path / "run")
    trained("speech_recognition", tmp_path)
    assert found.read_config()["method"]["characters"] == "abcd"
    assert "characters" not in found.read_config()["changed"]
    wider = trained("speech_recognition", tmp_path, "wider", characters="dcbaz")
    assert AutoModelForCTC.from_pretrained(wider.export).config.vocab_size == 8
    for characters, message in (
        ("abc", "characters lacks some of the transcripts of train: add 'd'"),
        ("aab", "must be named once each"),
        ("a|", "which stands between words"),
        ("aB", "transcripts are in lower case: set --keep_case"),
        ("", "must name at least one"),
    ):
        with pytest.raises(ConfigError, match=message):
            trained("speech_recognition", tmp_path, "other", characters=characters)
