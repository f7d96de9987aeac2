"""The task is found by the columns of the data where these leave no doubt."""

from pathlib import Path
from typing import Any

import pytest
from datasets import Audio, ClassLabel, Dataset, Image, List, Value

from hfssl.commands.task_choice import fitting_tasks, task_for
from hfssl.errors import ConfigError

CLASS, TEXT = ClassLabel(names=["a", "b"]), Value("string")


@pytest.mark.parametrize(
    ("features", "tasks"),
    [
        ({"image": Image(), "label": CLASS}, ["image_classification"]),
        ({"image": Image(), "label": Value("int64")}, ["image_classification"]),
        ({"image": Image()}, []),
        ({"text": TEXT, "label": CLASS}, ["sequence_classification"]),
        ({"premise": TEXT, "hypothesis": TEXT, "label": Value("float32")}, ["sequence_classification"]),
        ({"text": TEXT}, []),
        ({"tokens": List(TEXT), "ner_tags": List(CLASS)}, ["token_classification"]),
        ({"id": TEXT, "question": TEXT, "context": TEXT, "answers": List(TEXT)}, ["question_answering"]),
        ({"audio": Audio(), "label": CLASS, "speaker": TEXT}, ["audio_classification"]),
        ({"audio": Audio(), "text": TEXT}, ["speech_recognition"]),
    ],
)
def test_columns_tell_the_task(features: dict[str, Any], tasks: list[str]) -> None:
    assert fitting_tasks(features) == tasks


def test_folders_and_tables_tell_it_too(tmp_path: Path) -> None:
    (tmp_path / "pictures" / "cat").mkdir(parents=True)
    (tmp_path / "pictures" / "cat" / "1.png").touch()
    assert task_for(str(tmp_path / "pictures")) == "image_classification"
    Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}).to_csv(tmp_path / "rows.csv")
    assert task_for(str(tmp_path / "rows.csv")) == "sequence_classification"
    assert task_for("demo:digits") == "image_classification"


def test_doubt_and_absence_are_named(tmp_path: Path) -> None:
    Dataset.from_dict({"number": [1, 2]}).to_csv(tmp_path / "rows.csv")
    with pytest.raises(ConfigError, match=r"\(number\) fit no task: name the task with --task"):
        task_for(str(tmp_path / "rows.csv"))
    (tmp_path / "rows.txt").touch()
    with pytest.raises(ConfigError, match="no table of the kinds"):
        task_for(str(tmp_path / "rows.txt"))
