"""The closing steps of a run: each fails singly, is said and recorded, and the next start makes what is missing."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hfssl.commands.pretrain import pretrain
from hfssl.config.parse import parse
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.tokenizer import train_tokenizer
from hfssl.errors import TrainingError
from hfssl.evaluation.knn import knn_predictions
from hfssl.evaluation.texts import tfidf
from hfssl.figures import curves
from hfssl.methods.mlm.config import MLMConfig
from hfssl.methods.mlm.demonstration import blank_within
from hfssl.methods.mlm.objective import MLM
from hfssl.reporting import card, report
from hfssl.run_dir import RunDir
from hfssl.runs.final_evaluation import text as final_evaluation
from hfssl.training import loop
from hfssl.training.closing_record import missing_parts, read_record
from tests.support.laboratory import few_texts

SIZES = {"--hidden_size": 32, "--num_hidden_layers": 1, "--max_steps": 4, "--global_batch_size": 8, "--save_every": 2}
SIZES |= {"--max_length": 16, "--vocab_size": 400, "--log_every": 2, "--cpu_threads": 1}
# part -> what is broken: module, name in it
PARTS: dict[str, tuple[Any, str]] = {
    "loss curve": (curves, "loss_curve"),
    "curve of the validation": (curves, "watch_curve"),
    "results table": (final_evaluation, "results_table"),
    "figures of the language model": (final_evaluation, "language_figures"),
    "examples of the language model": (final_evaluation, "_examples"),
    "report": (report, "write_report"),
    "card": (card, "write_card"),
}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file: Path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    source = few_texts(0, 80)
    file.write_text("\n".join(json.dumps({"text": source.sample(row)}) for row in range(80)))
    return file


def started(texts: Path, folder: Path | None) -> RunDir:
    argv = ["--config", "demo", "--dataset", str(texts), "--output_dir", str(folder or "none")]
    argv += [str(word) for pair in SIZES.items() for word in pair]
    return pretrain(MLM, parse(MLMConfig, TextDataConfig, argv))


@pytest.fixture(scope="module")
def whole(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return started(texts, tmp_path_factory.mktemp("run") / "whole")


def copied(whole: RunDir, folder: Path, *, is_finished: bool) -> RunDir:
    """A copy of a run: finished, or killed before its closing steps."""
    run_dir = RunDir(Path(shutil.copytree(whole.path, folder)))
    if not is_finished:
        run_dir.forget_summary()
        for file in (run_dir.report_file, run_dir.card_file):
            file.unlink()
        shutil.rmtree(run_dir.figures)
        shutil.rmtree(run_dir.export)
    return run_dir


def fail(*given: Any) -> None:
    raise IndexError("a fault of a library\nin two lines")


def never(*given: Any) -> None:
    raise AssertionError("trained again")


def test_a_run_whose_sentences_are_longer_than_the_model_reads_is_closed(whole: RunDir) -> None:
    assert missing_parts(whole) == []
    summary = whole.read_summary()
    assert summary is not None
    assert len(summary["examples"]) == 3
    assert {row["features"] for row in summary["rows"]} == {"TF-IDF", "untrained", "pretrained"}


@pytest.mark.parametrize("part", PARTS)
def test_a_closing_part_fails_singly_and_the_next_start_makes_it(
    part: str,
    whole: RunDir,
    texts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_dir = copied(whole, tmp_path / "run", is_finished=False)
    with monkeypatch.context() as broken:
        broken.setattr(*PARTS[part], fail)
        started(texts, run_dir.path)
    assert (
        f"warning: the {part} could not be made: IndexError: a fault of a library in two lines;"
        in capsys.readouterr().out
    )
    assert run_dir.is_finished()
    assert read_record(run_dir).failed == {part: "IndexError"}
    assert missing_parts(run_dir) == [part]
    assert "in fail" in run_dir.closing_log.read_text()
    for name, page in {"report": run_dir.report_file, "card": run_dir.card_file}.items():
        assert page.is_file() == (name != part)
        assert name == part or f"the {part} could not be made (IndexError)" in page.read_text()
    files = {path.name for path in run_dir.figures.iterdir()} if part == "loss curve" else {"loss.png"}
    assert ("loss.png" in files) == (part != "loss curve")
    monkeypatch.setattr(loop, "train_step", never)
    started(texts, run_dir.path)
    assert missing_parts(run_dir) == []
    assert run_dir.read_summary() == whole.read_summary()
    assert {path.name for path in run_dir.figures.iterdir()} == {path.name for path in whole.figures.iterdir()}
    assert "could not be made" not in run_dir.report_file.read_text() + run_dir.card_file.read_text()


@pytest.mark.parametrize("gone", ["report", "card", "both", "export"])
def test_each_closing_part_that_is_missing_is_made_whatever_else_exists(
    gone: str, whole: RunDir, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = copied(whole, tmp_path / "run", is_finished=True)
    if gone in ("report", "both"):
        run_dir.report_file.unlink()
    if gone in ("card", "both"):
        run_dir.card_file.unlink()
    if gone == "export":
        shutil.rmtree(run_dir.export)
    monkeypatch.setattr(loop, "train_step", never)
    started(texts, run_dir.path)
    assert missing_parts(run_dir) == []
    assert run_dir.read_summary() == whole.read_summary()


def test_a_run_killed_after_its_table_gets_pages_of_the_finished_run(
    whole: RunDir, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = copied(whole, tmp_path / "run", is_finished=True)
    run_dir.write_closing({"failed": {}, "is_over": False})
    run_dir.report_file.write_text("of an unfinished run, made by hfssl report")
    monkeypatch.setattr(loop, "train_step", never)
    started(texts, run_dir.path)
    assert "finished, 4 steps" in run_dir.report_file.read_text()
    assert missing_parts(run_dir) == []


def test_what_needs_a_checkpoint_that_is_gone_is_said_and_not_trained_for(
    whole: RunDir, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = copied(whole, tmp_path / "run", is_finished=True)
    run_dir.write_closing({"failed": {"loss curve": "OSError"}, "is_over": True})
    shutil.rmtree(run_dir.checkpoint(4))
    run_dir.card_file.unlink()
    monkeypatch.setattr(loop, "train_step", never)
    started(texts, run_dir.path)
    assert "warning: loss curve: missing, and not made again, since the checkpoint of the last step is gone" in (
        capsys.readouterr().out
    )
    assert missing_parts(run_dir) == ["loss curve"]


@pytest.mark.parametrize(
    ("record", "expected"), [(None, 1), ({"report": "OSError"}, 0), ({}, 0)], ids=["closed", "failed", "cut"][:]
)
def test_without_a_folder_a_run_that_was_not_closed_is_closed_and_a_closed_one_left_alone(
    record: dict[str, str] | None,
    expected: int,
    whole: RunDir,
    texts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    run_dir = copied(whole, tmp_path / "runs" / "mlm-000", is_finished=True)
    if record is not None:
        run_dir.write_closing({"failed": record, "is_over": bool(record)})
    assert started(texts, None).path.name == f"mlm-00{expected}"
    assert missing_parts(run_dir) == []


@pytest.mark.parametrize("content", ["", "[]", '{"failed": [], "is_over": 3}', "{", '{"failed": {}}'])
def test_a_damaged_record_of_the_closing_is_that_of_a_run_without_failures(content: str, tmp_path: Path) -> None:
    (tmp_path / "closing.json").write_text(content)
    assert read_record(RunDir(tmp_path)).failed == {}
    assert read_record(RunDir(tmp_path)).is_over


@pytest.mark.parametrize("what", ["export", "results"])
def test_a_full_disk_leaves_a_run_that_the_same_command_closes(
    what: str, whole: RunDir, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    run_dir = copied(whole, tmp_path / "run", is_finished=False)
    with monkeypatch.context() as broken:
        broken.setattr(
            *(("hfssl.runs.closing.write_export", full) if what == "export" else (RunDir, "write_summary", full))
        )
        with pytest.raises(
            TrainingError, match=f"the {what} could not be written .*No space left .*the trained weights are"
        ):
            started(texts, run_dir.path)
    monkeypatch.setattr(loop, "train_step", never)
    started(texts, run_dir.path)
    assert missing_parts(run_dir) == []
    assert run_dir.read_summary() == whole.read_summary()


@pytest.mark.parametrize("longest", [3, 5, 8, 16, 64])
def test_a_blank_and_its_words_fit_the_model(longest: int) -> None:
    tokenizer = train_tokenizer(["an entirely different text, with other words"], "bpe", 300, False)
    words = [
        "the",
        "second",
        "of",
        "these",
        "long",
        "sentences",
        "has",
        "quite",
        "a",
        "few",
        "words",
        "more",
        "than",
        "some",
        "models",
        "read",
    ]
    blank = blank_within(words, tokenizer, longest)
    if blank is None:
        assert longest <= 5
        return
    text = " ".join([blank.before, tokenizer.mask_token, blank.after]).strip()
    assert len(tokenizer(text)["input_ids"]) <= longest
    assert f"{blank.before} {blank.hidden} {blank.after}".strip() in " ".join(words)


@pytest.mark.parametrize(
    "texts_of",
    ["M K V L A G", "~ ! ?", "a", "\U0001f600 \U0001f601", "7 8 9"],
    ids=["protein", "marks", "a", "emoji", "7"],
)
def test_tfidf_of_texts_without_words_of_two_letters_tells_texts_apart(texts_of: str) -> None:
    train = [texts_of, f"{texts_of} X", "X", f"X {texts_of}"]
    train_NW, test_MW = tfidf(train, [texts_of, "unseen"])
    assert train_NW.shape[1] >= 2
    assert test_MW is not None
    assert knn_predictions(train_NW[[0, 2]], np.array([0, 1]), test_MW)[0] == 0
