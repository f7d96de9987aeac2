"""The laws of answering by spans: windows that lose nothing, stock's loss, the best span of all windows, adapters."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModel, AutoModelForQuestionAnswering

from hfssl.checkpoints.exports import write_export
from hfssl.data.texts.answer_places import answer_places
from hfssl.data.texts.questions import text_of
from hfssl.errors import ConfigError
from hfssl.models.text_head import body_of
from hfssl.nn.answer_spans import best_span
from hfssl.runs.open_session import open_rows
from tests.support.texts_with_labels import (
    TYPES,
    checkpoint,
    classes,
    disturbed,
    gradients_of,
    opened,
    question_rows,
    run_of,
    table,
    trained,
)

QUESTIONS = "question_answering"
every_type = pytest.mark.parametrize("model_type", TYPES)


def asking_on(model_type: str, folder: Path, rows: list[dict[str, Any]] | None = None, **settings: Any) -> Any:
    model = checkpoint(model_type, folder / "model")
    file = table(rows or question_rows(), folder / "rows.jsonl")
    return opened(run_of(QUESTIONS, model, file, folder / "run", **{"doc_stride": 4} | settings))


def questions_of(parts: Any) -> Any:
    return parts.rows.pipeline.whole_examples(open_rows(parts.run))


def windows_of_one_length(parts: Any) -> dict[str, torch.Tensor]:
    full = [
        one
        for one in (parts.rows.examples[row] for row in range(len(parts.rows.examples)))
        if len(one["input_ids"]) == 32
    ]
    batch: dict[str, torch.Tensor] = parts.rows.pipeline.collate(full[:8], None)
    return batch


@every_type
def test_loss_and_gradients_of_spans_are_those_of_the_stock_head(model_type: str, tmp_path: Path) -> None:
    parts = asking_on(model_type, tmp_path)
    task, batch = parts.objective.eval(), windows_of_one_length(parts)
    output = task(batch, 0.0)
    starts, ends = batch["targets"].unbind(dim=1)
    stock = task.model(**task.inputs(batch), start_positions=starts, end_positions=ends).loss
    ours = output.loss_sum / output.num_targets
    assert ours.item() == pytest.approx(stock.item(), rel=1e-6)
    own, others = gradients_of(task, ours), gradients_of(task, stock)
    assert own.keys() == others.keys()
    assert all(torch.allclose(own[name], others[name], atol=1e-6) for name in own)


def test_a_window_s_loss_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    parts = asking_on("bert", tmp_path)
    task, pipeline = parts.objective.eval(), parts.rows.pipeline
    windows = [parts.rows.examples[row] for row in range(12)]
    assert len({len(window["input_ids"]) for window in windows}) > 1
    alone = sum(float(task(pipeline.collate([window], None), 0.0).loss_sum) for window in windows)
    assert float(task(pipeline.collate(windows, None), 0.0).loss_sum) == pytest.approx(alone, rel=1e-5)


@every_type
def test_windows_hold_each_text_whole_and_targets_name_the_answer(model_type: str, tmp_path: Path) -> None:
    parts = asking_on(model_type, tmp_path)
    questions = questions_of(parts)
    several = 0
    for row in range(len(questions)):
        one = questions[row]
        covered, named = set(), []
        for window in one["windows"]:
            starts, ends = window["char_starts"].tolist(), window["char_ends"].tolist()
            assert len(starts) == len(window["input_ids"]) <= 32
            covered |= {char for start, end in zip(starts, ends, strict=True) for char in range(max(0, start), end)}
            first, last = window["targets"].tolist()
            if first:
                named.append(one["context"][starts[first] : ends[last]].strip())
        assert covered >= {place for place, letter in enumerate(one["context"]) if letter != " "}
        assert named
        assert set(named) == set(one["golds"])
        several += len(one["windows"]) > 1
    assert several > 5


def test_the_best_span_is_that_of_a_slow_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    for most in (1, 3, 9):
        first, last = torch.randn(2, 9, generator=generator)
        in_text = torch.arange(9) > 2
        expected = max((float(first[i] + last[j]), i, j) for i in range(3, 9) for j in range(i, min(9, i + most)))
        assert best_span(first, last, in_text, most) == expected


def test_the_answer_is_the_best_of_all_windows_or_none(tmp_path: Path) -> None:
    parts = asking_on("bert", tmp_path)
    task, questions = parts.objective.eval(), questions_of(parts)
    batch = parts.rows.pipeline.eval_transform([questions[row] for row in range(8)])
    assert [text_of(points) for points in batch["contexts"]] == [questions[row]["context"] for row in range(8)]
    logits = torch.full((*batch["input_ids"].shape, 2), -5.0)
    for window, (first, last) in enumerate(batch["targets"].tolist()):
        logits[window, first, 0] = logits[window, last, 1] = 5.0
    task.logits = lambda batch: logits
    assert task.predictions(batch) == [(questions[row]["golds"][0], questions[row]["golds"]) for row in range(8)]
    logits[:, 0] = 9.0
    assert all(said for said, _ in task.predictions(batch))
    object.__setattr__(task.config, "unanswerable", True)
    assert [said for said, _ in task.predictions(batch)] == [""] * 8


def test_questions_without_answers_are_noticed_and_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = question_rows()
    for row in rows[::3]:
        row["answers"] = {"text": [], "answer_start": []}
    for row in rows[1::6]:
        row["answers"] = {"text": ["nowhere"], "answer_start": [0]}
    parts = asking_on("bert", tmp_path, rows)
    assert parts.run.method.unanswerable is True
    golds = [gold for _, gold in parts.objective.predictions(_all(parts))]
    assert [] in golds
    assert len(golds) == len(questions_of(parts))
    said = capsys.readouterr().out
    assert "do not stand at their answer_start" in said
    assert "questions of train make" in said


def test_a_question_whose_answer_stands_elsewhere_is_left_out_of_training(tmp_path: Path) -> None:
    rows = question_rows()
    whole = asking_on("bert", tmp_path / "whole", rows)
    for row in rows[::4]:
        row["answers"]["answer_start"] = [row["answers"]["answer_start"][0] + 1]
    parts = asking_on("bert", tmp_path / "some", rows)
    lost = {row["question"] + row["context"] for row in rows[::4]}
    questions = [questions_of(parts)[index] for index in range(len(questions_of(parts)))]
    kept = [one for one in questions if one["question"] + one["context"] not in lost]
    assert len(parts.rows.examples) == sum(len(one["windows"]) for one in kept) < len(whole.rows.examples)
    for row in rows:
        row["answers"]["answer_start"] = [row["answers"]["answer_start"][0] + 2]
    with pytest.raises(ConfigError, match="answers of train do not stand at their answer_start, which counts the char"):
        asking_on("bert", tmp_path / "none", rows)


def test_starts_that_count_bytes_are_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context = "Düsseldorf и Käse"
    in_bytes = len("Düsseldorf и ".encode())
    found = answer_places(
        [
            {"text": ["Käse"], "answer_start": [in_bytes]},
            {"text": ["Käse"], "answer_start": [context.index("K")]},
            {"text": ["none", "Käse"], "answer_start": [0, context.index("K")]},
            {"text": ["Käse"], "answer_start": [-4]},
            {"text": ["Käse"], "answer_start": [10_000]},
            {"text": [], "answer_start": []},
        ],
        [context] * 6,
    )
    place = (context.index("K"), len(context))
    assert found.spans == [place, place, place, None, None, None]
    assert found.is_lost == [False, False, False, True, True, False]
    assert found.num_in_bytes == 1
    rows = question_rows()
    for row in rows:
        start = row["answers"]["answer_start"][0]
        row["context"] = "é" + row["context"]
        row["answers"]["answer_start"] = [start + 2]
    parts = asking_on("bert", tmp_path, rows)
    assert "stand at an answer_start that counts bytes: read as such" in capsys.readouterr().out
    assert any(int(parts.rows.examples[window]["targets"][0]) for window in range(len(parts.rows.examples)))


def _all(parts: Any) -> dict[str, torch.Tensor]:
    questions = questions_of(parts)
    batch: dict[str, torch.Tensor] = parts.rows.pipeline.eval_transform(
        [questions[row] for row in range(len(questions))]
    )
    return batch


@pytest.mark.versions
@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_an_adapter_of_spans_on_a_stock_base_says_what_was_trained(model_type: str, tmp_path: Path) -> None:
    parts = asking_on(model_type, tmp_path, adaptation="lora", lora_rank=2)
    task, batch = disturbed(parts.objective), windows_of_one_length(parts)
    write_export(task.export(), tmp_path / "export")
    torch.manual_seed(5)
    base = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "model")
    stranger = PeftModel.from_pretrained(base, tmp_path / "export").eval()
    with torch.no_grad():
        said = stranger(**task.inputs(batch))
        assert torch.allclose(torch.stack([said.start_logits, said.end_logits], dim=2), task.logits(batch), atol=1e-5)


@pytest.mark.parametrize("settings", [{"adaptation": "frozen"}, {"adaptation": "lora", "lora_rank": 2, "merge": True}])
def test_runs_are_scored_by_their_export(settings: dict[str, Any], tmp_path: Path) -> None:
    model = checkpoint("bert", tmp_path / "model")
    file = table(question_rows(), tmp_path / "rows.jsonl")
    folder = trained(run_of(QUESTIONS, model, file, tmp_path / "run", doc_stride=4, **settings))
    summary = folder.read_summary()
    assert summary is not None
    summary = summary["scores"]
    assert summary["rows"] == 10
    assert 0 <= summary["exact_match"] <= summary["f1"] <= 1
    stock = AutoModel.from_pretrained(model).state_dict()
    body = body_of(AutoModelForQuestionAnswering.from_pretrained(folder.export)).state_dict()
    assert all(torch.equal(body[name], stock[name]) for name in body) == (settings["adaptation"] == "frozen")


def test_spans_are_learnt(tmp_path: Path) -> None:
    model = checkpoint("bert", tmp_path / "model")
    file = table([row for row in question_rows(900) if len(row["context"]) < 100], tmp_path / "rows.jsonl")
    length = {"max_steps": 200, "global_batch_size": 32, "evaluate_every": 100, "save_every": 1000, "log_every": 100}
    summary = trained(
        run_of(QUESTIONS, model, file, tmp_path / "run", doc_stride=4, rate=1e-2, loop=length)
    ).read_summary()
    assert summary is not None
    summary = summary["scores"]
    assert summary["exact_match"] > 0.9


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"doc_stride": 9}, "doc_stride 9 is more than a quarter of the 32 tokens of a window: set --doc_stride 8"),
    ({"doc_stride": -1}, "doc_stride must be at least 0"),
    ({"max_answer_length": 0}, "max_answer_length must be above 0"),
    ({"label_smoothing": 0.1}, "label_smoothing has no effect where answers are spans"),
    ({"question_column": "asked"}, "--question_column asked is no column of texts; there are: context, question"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_settings_of_questions_that_can_not_work_are_refused(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        asking_on("bert", tmp_path, **settings)
    assert "\n" not in str(caught.value)


def test_data_in_other_columns_is_refused(tmp_path: Path) -> None:
    model, rows = checkpoint("bert", tmp_path / "model"), classes(tmp_path / "rows.jsonl")
    with pytest.raises(ConfigError, match="no column fits; choose one with --text_column"):
        opened(run_of(QUESTIONS, model, rows, tmp_path / "run", doc_stride=4))
    settings: dict[str, Any] = {"text_column": "text", "question_column": "second", "label_column": "label"}
    with pytest.raises(ConfigError, match="must hold the lists text and answer_start"):
        opened(run_of(QUESTIONS, model, rows, tmp_path / "run", doc_stride=4, **settings))
