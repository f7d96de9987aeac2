"""Predicted answers: those that the run itself is scored by, whoever asks and however; questions that cannot be asked."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hfssl.checkpoints.exports import write_export
from hfssl.errors import ConfigError
from hfssl.run_dir import RunDir
from hfssl.runs.open_session import open_rows
from tests.support.predictions import predicted
from tests.support.texts_with_labels import checkpoint, disturbed, opened, question_rows, run_of, sentence, table

QUESTIONS = "question_answering"
LORA = {"adaptation": "lora", "lora_rank": 2}


@torch.no_grad()
def answered(task: Any, batch: Any) -> list[Any]:
    found: list[Any] = task.predictions(batch)
    return found


@torch.no_grad()
def some_unanswered(task: Any, batch: Any) -> list[Any]:
    """The answers after the head has been turned towards the first token, as far as some questions have none."""
    hidden_BTD = task.model.bert(**task.inputs(batch)).last_hidden_state
    towards_D = hidden_BTD[:, 0].mean(dim=0) - hidden_BTD[:, 1:].flatten(0, 1).mean(dim=0)
    answers = answered(task, batch)
    while all(said for said, _ in answers):
        task.model.qa_outputs.weight.add_(towards_D, alpha=0.02)
        answers = answered(task, batch)
    assert any(said for said, _ in answers)
    return answers


def asked(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> tuple[RunDir, list[Any]]:
    """(a run whose head says many things, what it is scored by on these rows)."""
    file = table(rows, folder / "rows.jsonl")
    run = run_of(QUESTIONS, checkpoint("bert", folder / "model"), file, folder / "run", **{"doc_stride": 4} | settings)
    parts = opened(run)
    torch.manual_seed(0)
    disturbed(parts.objective)
    examples = parts.rows.pipeline.whole_examples(open_rows(parts.run))
    batch = parts.rows.pipeline.eval_transform([examples[row] for row in range(len(examples))])
    answers = (
        some_unanswered(parts.objective, batch) if settings.get("unanswerable") else answered(parts.objective, batch)
    )
    run_dir = RunDir(folder / "run")
    run_dir.write_config(parts.run.stored())
    write_export(parts.objective.export(), run_dir.export)
    chosen = [rows[row] for row in range(len(rows)) if rows[row]["context"] in open_rows(parts.run).rows["context"][:]]
    table(chosen, folder / "asked.jsonl")
    return run_dir, answers


@pytest.mark.parametrize("settings", [{}, {"max_answer_length": 2, "doc_stride": 8}, {"unanswerable": True}, LORA])
def test_answers_are_those_that_the_run_is_scored_by(settings: dict[str, Any], tmp_path: Path) -> None:
    rows = [row | {"question": f"bond {sentence(place, 4)}"} for place, row in enumerate(question_rows())]
    run_dir, answers = asked(tmp_path, rows, **settings)
    said = predicted(tmp_path, run_dir.path, tmp_path / "asked.jsonl", batch_size=3)
    assert [row["answer"] for row in said] == [answer for answer, _ in answers]
    assert len({row["answer"] for row in said}) > 3
    contexts = [json.loads(line)["context"] for line in (tmp_path / "asked.jsonl").read_text().splitlines()]
    for row, context in zip(said, contexts, strict=True):
        assert 0 < row["probability"] < 1
        assert row["answer"] == ("" if row["start"] is None else context[row["start"] : row["end"]])
    assert any(row["answer"] == "" for row in said) == bool(settings.get("unanswerable"))
    for size in (1, 64):
        for one, other in zip(
            said, predicted(tmp_path, run_dir.path, tmp_path / "asked.jsonl", batch_size=size), strict=True
        ):
            assert one["answer"] == other["answer"]
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)


def test_a_question_is_asked_of_every_text_and_flags_come_before_the_runs_settings(tmp_path: Path) -> None:
    run_dir, _ = asked(tmp_path, question_rows())
    rows = [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text().splitlines()]
    expected = predicted(tmp_path, run_dir.path, tmp_path / "asked.jsonl")
    (tmp_path / "t.txt").write_text("\n".join(row["context"] for row in rows))
    assert predicted(tmp_path, run_dir.path, tmp_path / "t.txt", question="bond price") == expected
    (tmp_path / "texts").mkdir()
    for place, row in enumerate(rows):
        (tmp_path / "texts" / f"{place:02}.txt").write_text(row["context"])
    of_files = predicted(tmp_path, run_dir.path, tmp_path / "texts", question="bond price")
    assert [row["answer"] for row in of_files] == [row["answer"] for row in expected]
    renamed = table([{"a": row["context"], "q": row["question"]} for row in rows], tmp_path / "renamed.jsonl")
    assert predicted(tmp_path, run_dir.path, renamed, column="a", question_column="q") == expected
    assert predicted(tmp_path, run_dir.path, renamed, column="a", question="bond price") == expected
    single = predicted(tmp_path, run_dir.path, tmp_path / "asked.jsonl", max_answer_length=1)
    assert all(len(row["answer"].split()) <= 1 for row in single)
    assert single != expected
    stranger = tmp_path / "elsewhere"
    run_dir.export.rename(stranger)
    elsewhere = predicted(
        tmp_path, stranger, tmp_path / "asked.jsonl", doc_stride=4, max_answer_length=30, unanswerable=False
    )
    assert elsewhere == expected


def test_questions_that_can_not_be_asked_cost_their_row(tmp_path: Path) -> None:
    run_dir, _ = asked(tmp_path, question_rows())
    rows = [{"question": "bond", "context": ""}, {"question": None, "context": "cat"}, {"question": "bond"}]
    rows += [{"question": 3, "context": "cat"}, {"question": "bond " * 60, "context": "cat dog"}]
    file = table([{"question": "bond", "context": "cat"}, *rows], tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_text((tmp_path / "bad.jsonl").read_text() + "{damaged\n")
    said = predicted(tmp_path, run_dir.path, file)
    assert [row["error"] for row in said] == [
        None,
        "the text is empty",
        "the question is empty",
        "the text is empty",
        "holds no question but a int",
        None,
        "the line is no JSON object",
    ]
    assert said[0]["answer"] == "cat"


def test_flags_without_effect_or_sense_and_inputs_without_questions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("cat\n")
    run_dir, _ = asked(tmp_path, question_rows())
    good = table([{"question": "bond", "context": "cat"}], tmp_path / "good.jsonl")
    for given, flags, message in (
        ("t.txt", {"top_k": 2}, "--top_k has no effect: the model answers with spans"),
        ("t.txt", {}, "holds no questions: name a table .* or ask one of all texts with --question"),
        (good, {"question_column": "q"}, "--question_column q is not in .*; there are: question, context"),
        (good, {"column": "q"}, "--column q is not in .*; there are: question, context"),
        (good, {"doc_stride": 9}, "--doc_stride 9 is more than a quarter of the 32 tokens"),
        (good, {"question": " "}, "--question is empty"),
        (
            good,
            {"question": "a", "question_column": "b"},
            "--question_column has no effect with --question",
        ),
        (good, {"max_answer_length": 0}, "max_answer_length must be at least 1, got 0"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            predicted(tmp_path, run_dir.path, tmp_path / given, **flags)
        assert "\n" not in str(caught.value)
