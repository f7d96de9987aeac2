"""Predicted tags: the pipeline's entities of texts, the run's own tags of listed words, and rows that cannot be read."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
from transformers import AutoTokenizer, pipeline

from hfssl.checkpoints.exports import write_export
from hfssl.errors import ConfigError
from hfssl.run_dir import RunDir
from hfssl.runs.open_session import open_rows
from tests.support.predictions import predicted
from tests.support.texts_with_labels import (
    TYPES,
    batch_of,
    checkpoint,
    disturbed,
    opened,
    run_of,
    sentence,
    table,
    tagged,
    trained,
)

TOKENS = "token_classification"
LORA = {"adaptation": "lora", "lora_rank": 2}
TEXTS = ["cat sat bank bond rose", "dogcat, gold", "", "bank " * 60, "bond-bank  sold the mat", "Größe cat"]
TEXTS += [sentence(row, 20) for row in range(16)]
every_type = pytest.mark.parametrize("model_type", TYPES)


def tagger(model_type: str, folder: Path, **settings: Any) -> Any:
    """A tagger of random weights that says all tags, and its export."""
    model = checkpoint(model_type, folder / "model")
    parts = opened(run_of(TOKENS, model, tagged(folder / "rows.jsonl"), folder / "run", **settings))
    torch.manual_seed(0)
    task: Any = disturbed(parts.objective)
    with torch.no_grad():
        named = {name: p for name, p in task.model.named_parameters() if p.requires_grad and "classifier" in name}
        weight, bias = (next(p for name, p in named.items() if name.endswith(kind)) for kind in ("weight", "bias"))
        weight.normal_()
        bias.sub_(task.logits(batch_of(parts, 24)).flatten(0, 1).mean(dim=0))  # so that every tag is said
    write_export(parts.objective.export(), folder / "export")
    return parts


@every_type
def test_entities_of_texts_are_those_of_the_pipeline(model_type: str, tmp_path: Path) -> None:
    tagger(model_type, tmp_path)
    (tmp_path / "t.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    rows = predicted(tmp_path, tmp_path / "export", tmp_path / "t.txt", batch_size=4)
    stock = pipeline("token-classification", model=str(tmp_path / "export"), aggregation_strategy="first")
    single = pipeline("token-classification", model=str(tmp_path / "export"), ignore_labels=[])
    seen = set()
    for text, row in zip(TEXTS, rows, strict=True):
        if not text:
            assert row["error"] == "the text is empty"
            continue
        said = stock(text)
        assert [(one["start"], one["end"], one["tag"]) for one in row["entities"]] == [
            (one["start"], one["end"], one["entity_group"]) for one in said
        ]
        for one, other in zip(row["entities"], said, strict=True):
            assert one["text"] == text[one["start"] : one["end"]]
            assert one["probability"] == pytest.approx(float(other["score"]), abs=1e-5)
        firsts = {one["start"]: one for one in reversed(single(text))}
        assert len(row["words"]) == len(row["tags"]) == len(row["probabilities"])
        assert set(row["tags"]) <= {one["entity"] for one in firsts.values()}
        assert (row["cut_at"] is not None) == (text == TEXTS[3])
        seen |= set(row["tags"])
    assert "O" in seen
    assert len(seen) > 2
    assert TEXTS[3][rows[3]["cut_at"] :].split() == ["bank"] * (60 - len(rows[3]["words"]))


@pytest.mark.parametrize("adaptation", [{}, LORA])
@every_type
def test_tags_of_listed_words_are_those_that_the_run_is_scored_by(
    model_type: str, adaptation: dict[str, Any], tmp_path: Path
) -> None:
    if model_type == "gpt2" and adaptation:
        adaptation = LORA | {"merge": True}
    parts = tagger(model_type, tmp_path, **adaptation)
    run_dir = RunDir(tmp_path / "run")
    run_dir.write_config(parts.run.stored())
    write_export(parts.objective.export(), run_dir.export)
    words = open_rows(parts.run).rows["tokens"][:]
    examples = parts.rows.examples
    with torch.no_grad():
        answers = parts.objective.predictions(
            parts.rows.pipeline.eval_transform([examples[row] for row in range(len(examples))])
        )
    pyarrow.parquet.write_table(pyarrow.table({"tokens": words, "tags": [[0]] * len(words)}), tmp_path / "w.parquet")
    rows = predicted(tmp_path, run_dir.path, tmp_path / "w.parquet", batch_size=5)
    assert [row["tags"] for row in rows] == [said for said, _ in answers]
    assert [row["words"] for row in rows] == words
    table([{"tokens": some} for some in words], tmp_path / "w.jsonl")
    again = predicted(tmp_path, run_dir.path, tmp_path / "w.jsonl", batch_size=1)
    assert [row["tags"] for row in again] == [row["tags"] for row in rows]
    for row in rows:
        text = " ".join(row["words"])
        assert all(one["text"] == text[one["start"] : one["end"]] for one in row["entities"])
    assert {one["tag"] for row in rows for one in row["entities"]} <= {"PET", "FIRM"}
    assert any(row["entities"] for row in rows)


def test_single_pieces_that_are_listed_make_the_pipelines_entities(tmp_path: Path) -> None:
    tagger("bert", tmp_path)
    words = [sentence(row, 9).split() for row in range(12)]
    rows = predicted(tmp_path, tmp_path / "export", table([{"tokens": some} for some in words], tmp_path / "w.jsonl"))
    stock = pipeline("token-classification", model=str(tmp_path / "export"), aggregation_strategy="first")
    for some, row in zip(words, rows, strict=True):
        said = stock([some], is_split_into_words=True)[0]
        expected = [
            (one["start"], one["end"], one["entity_group"], pytest.approx(one["score"], abs=1e-5)) for one in said
        ]
        assert [(one["start"], one["end"], one["tag"], one["probability"]) for one in row["entities"]] == expected


def test_listed_words_that_are_not_read_are_outside_and_bad_lists_cost_their_row(tmp_path: Path) -> None:
    tagger("bert", tmp_path)
    lists = [["cat", "", "dog"], ["bank"] * 40, [], ["cat", None], ["cat", 3], "cat dog", None, 5]
    rows = predicted(tmp_path, tmp_path / "export", table([{"tokens": one} for one in lists], tmp_path / "w.jsonl"))
    assert rows[0]["words"] == ["cat", "", "dog"]
    assert (rows[0]["tags"][1], rows[0]["probabilities"][1]) == ("O", None)
    assert rows[1]["tags"][30:] == ["O"] * 10
    assert rows[1]["probabilities"][29:] == [rows[1]["probabilities"][29], *[None] * 10]
    assert rows[1]["cut_at"] == 30 * len("bank ")
    assert rows[5]["words"] == ["cat", "dog"]
    assert [row["error"] for row in rows] == [
        None,
        None,
        "the list of words is empty",
        "holds no word but a NoneType",
        "holds no word but a int",
        None,
        "the text is empty",
        "holds no text but a int",
    ]


def test_lists_are_json_in_csv(tmp_path: Path) -> None:
    tagger("bert", tmp_path)
    (tmp_path / "t.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    cells, rows = (predicted(tmp_path, tmp_path / "export", tmp_path / "t.txt", file) for file in ("p.csv", "p.jsonl"))
    for cell, row in zip(cells, rows, strict=True):
        for name in ("words", "tags", "probabilities", "entities"):
            assert (json.loads(cell[name]) if cell[name] else None) == row[name]


@pytest.mark.parametrize("flags", [{"top_k": 2}, {"question": "who?"}, {"unanswerable": True}])
def test_flags_of_other_answers_are_refused(flags: dict[str, Any], tmp_path: Path) -> None:
    tagger("bert", tmp_path)
    (tmp_path / "t.txt").write_text("cat\n")
    with pytest.raises(ConfigError, match=f"--{next(iter(flags))} has no effect: the model answers with tags"):
        predicted(tmp_path, tmp_path / "export", tmp_path / "t.txt", **flags)


def test_the_next_command_of_a_tagging_run_is_one_that_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = checkpoint("bert", tmp_path / "model")
    run_dir = trained(run_of(TOKENS, model, tagged(tmp_path / "rows.jsonl"), tmp_path / "run"))
    assert f"hfssl predict --model {run_dir.path} --input FILE_OR_FOLDER" in capsys.readouterr().out
    assert predicted(tmp_path, run_dir.path, tmp_path / "rows.jsonl", column="tokens")[0]["error"] is None


def test_a_tokenizer_from_elsewhere_reads_listed_words_as_inside_a_text(tmp_path: Path) -> None:
    tagger("roberta", tmp_path)
    file = table([{"tokens": sentence(row, 9).split()} for row in range(12)], tmp_path / "w.jsonl")
    expected = predicted(tmp_path, tmp_path / "export", file)
    AutoTokenizer.from_pretrained(tmp_path / "model").save_pretrained(tmp_path / "export")
    assert predicted(tmp_path, tmp_path / "export", file) == expected
