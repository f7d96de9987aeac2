"""Labels that are missing, or that training does not have, are named before anything is trained: the split, and how many rows."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hfssl.catalog import task
from hfssl.commands.finetune import finetune
from hfssl.data.source import Source
from hfssl.errors import ConfigError
from hfssl.runs.labelled import check_and_say, open_divided, with_classes, with_model
from tests.support import speech_models
from tests.support.laboratory import few_recordings
from tests.support.texts_with_labels import checkpoint, question_rows, run_of, sentence, table, tagged_rows, trained

Rows = list[dict[str, Any]]
SEQUENCE, TOKENS, QUESTIONS = "sequence_classification", "token_classification", "question_answering"
AUDIO, SPEECH = "audio_classification", "speech_recognition"


def classes(count: int) -> Rows:
    return [{"text": sentence(row), "label": ["pets", "money"][row % 2]} for row in range(count)]


def numbers(count: int) -> Rows:
    return [{"text": sentence(row), "label": row + 0.5} for row in range(count)]


ROWS = {SEQUENCE: classes, "numbers": numbers, TOKENS: tagged_rows, QUESTIONS: question_rows}
LABEL = {SEQUENCE: "label", "numbers": "label", TOKENS: "tags", QUESTIONS: "answers"}


def written(folder: Path, name: str, splits: dict[str, dict[int, Any]]) -> str:
    """Tables of rows, with these labels in place of others, by row."""
    (folder / "data").mkdir()
    for split, changed in {"train": {}, **splits}.items():
        rows = ROWS[name](40 if split == "train" else 12)
        for place, label in changed.items():
            rows[place][LABEL[name]] = label
        table(rows, folder / "data" / f"{split}.jsonl")
    return str(folder / "data")


def run_on(folder: Path, name: str, splits: dict[str, dict[int, Any]]) -> Any:
    data = written(folder, name, splits)
    settings: dict[str, Any] = {"doc_stride": 4} if name == QUESTIONS else {}
    recipe = SEQUENCE if name == "numbers" else name
    return run_of(recipe, checkpoint("bert", folder / "model"), data, folder / "run", **settings)


WRONG: list[tuple[str, dict[str, dict[int, Any]], str]] = [
    (SEQUENCE, {"train": {1: None, 4: ""}}, "2 of 40 labels of the split train are missing"),
    (SEQUENCE, {"train": {4: " ", 5: ""}}, "2 of 40 labels of the split train are missing"),
    (SEQUENCE, {"test": {1: None, 4: None}}, "2 of 12 labels of the split test are missing"),
    (SEQUENCE, {"validation": {1: None}, "test": {}}, "1 of 12 labels of the split validation are missing"),
    (SEQUENCE, {"validation": {}, "test": {1: None}}, "1 of 12 rows of the split test have no label"),
    (SEQUENCE, {"test": {1: "cars", 4: "cars", 5: "art"}}, r"split test has labels .* art \(1 rows\), cars \(2 rows\)"),
    (SEQUENCE, {"validation": {1: "cars"}, "test": {}}, r"split validation has labels .* cars \(1 rows\)"),
    ("numbers", {"train": {3: None}}, "1 of 40 labels of the split train are missing"),
    ("numbers", {"validation": {3: None}, "test": {}}, "1 of 12 labels of the split validation are missing"),
    (TOKENS, {"train": {3: None}}, "1 of 40 lists of tags of the split train are missing"),
    (TOKENS, {"test": {3: None, 5: None}}, "2 of 12 lists of tags of the split test are missing"),
    (TOKENS, {"validation": {}, "test": {3: None}}, "1 of 12 rows of the split test have no label"),
    (TOKENS, {"test": {0: ["B-CAR"] + ["O"] * 20}}, "row 0 of the split test has . words and 21 tags"),
    (QUESTIONS, {"train": {3: None}}, "1 of 40 lists of answers of the split train are missing"),
    (QUESTIONS, {"test": {3: None}}, "1 of 12 lists of answers of the split test are missing"),
]


@pytest.mark.parametrize(("name", "splits", "message"), WRONG)
def test_labels_of_texts_that_are_missing_or_unknown_are_named(
    name: str, splits: dict[str, dict[int, Any]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        trained(run_on(tmp_path, name, splits))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_tags_that_training_does_not_have_are_named_with_their_rows(tmp_path: Path) -> None:
    unseen = {row: ["B-CAR", *one["tags"][1:]] for row, one in enumerate(tagged_rows(3))}
    with pytest.raises(ConfigError, match=r"the split test has tags that .* do not have: B-CAR \(3 rows\)"):
        trained(run_on(tmp_path, TOKENS, {"validation": {}, "test": unseen}))
    assert not (tmp_path / "run").exists()


def said_of(run: Any) -> None:
    task_class: Any = task(run.recipe)[1]
    run, _ = with_model(run)
    opened = open_divided(run)
    check_and_say(task_class, with_classes(task_class, run, opened.source), opened)


def test_a_split_whose_labels_are_withheld_is_said_not_to_be_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    withheld: dict[str, dict[int, Any]] = {"validation": {}, "test": dict.fromkeys(range(12))}
    said_of(run_on(tmp_path, SEQUENCE, withheld))
    assert "the split test has no labels: it is not scored" in capsys.readouterr().out


def test_questions_without_an_answer_that_training_does_not_know_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = {row: {"text": [], "answer_start": []} for row in (2, 5)}
    said_of(run_on(tmp_path, QUESTIONS, {"test": nothing}))
    assert "2 of 12 questions of test have no answer, and get one: unanswerable is false" in capsys.readouterr().out


def in_splits(source: Source, tested: Source) -> Source:
    """The first rows of one to train on, the last of the other to score."""
    held_out = dataclasses.replace(tested.part(np.arange(60, 90)), split="test")
    return dataclasses.replace(source.part(np.arange(60)), test=held_out)


def labels_of(changed: dict[int, str | None]) -> Source:
    source = few_recordings()
    names = [source.label_name(label) for label in source.rows["label"]]
    labels = [changed.get(row, name) for row, name in enumerate(names)]
    rows = source.rows.remove_columns("label").add_column("label", labels)
    return dataclasses.replace(source, rows=rows, all_rows=rows)


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        (AUDIO, in_splits(labels_of({3: None, 9: ""}), labels_of({})), "2 of 60 labels of the split train are missing"),
        (AUDIO, in_splits(labels_of({}), labels_of({60: None})), "1 of 30 labels of the split test are missing"),
        (AUDIO, in_splits(labels_of({}), labels_of({60: "", 61: ""})), "2 of 30 labels of the split test are missing"),
        (AUDIO, in_splits(labels_of({}), labels_of({60: "sung"})), r"split test has labels .* sung \(1 rows\)"),
        (
            SPEECH,
            in_splits(speech_models.few_transcribed(texts={1: None}), speech_models.few_transcribed()),  # type: ignore[dict-item]
            "1 of 60 labels of the split train are missing",
        ),
        (
            SPEECH,
            in_splits(speech_models.few_transcribed(), speech_models.few_transcribed(texts={60: None, 70: None})),  # type: ignore[dict-item]
            "2 of 30 transcripts of the split test are missing",
        ),
    ],
)
def test_labels_of_recordings_that_are_missing_or_unknown_are_named(
    name: str, source: Source, message: str, tmp_path: Path
) -> None:
    base = speech_models.write_encoder("layer", tmp_path / "base")
    speech_models.use_few_recordings(source)
    with pytest.raises(ConfigError, match=message):
        finetune(task(name)[1], speech_models.task_run(name, base, tmp_path / "run"))  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_empty_transcripts_and_characters_that_can_not_be_said_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = speech_models.write_encoder("layer", tmp_path / "base")
    other = speech_models.few_transcribed(texts={60: "", 61: " ", 62: "zab", 63: "z"})
    speech_models.use_few_recordings(in_splits(speech_models.few_transcribed(), other))
    said_of(speech_models.task_run(SPEECH, base, tmp_path / "run"))
    said = capsys.readouterr().out
    assert "2 of 30 transcripts of test are empty" in said
    assert "characters of test that no training row has, with the rows that have them: 'z' (2)" in said
