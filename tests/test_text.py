"""Texts from files, folders, tables and saved sets: the same rows, none left out in silence."""

import os
from pathlib import Path
from typing import Any

import datasets
import pytest

from hfssl.data.source import Source
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.rows import text_bytes, texts
from hfssl.data.texts.source import open_texts
from hfssl.errors import ConfigError

DOCUMENTS = ["One  line.\nAnother — naïve.\n", "Second document.\n\nIts second paragraph.", "Third."]


def opened(path: Path, **settings: Any) -> Source:
    data = TextDataConfig(dataset=str(path), validation_share=settings.pop("validation_share", 0.0) or None, **settings)
    data.check()
    return open_texts(data)


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def test_files_tables_and_saved_sets_give_the_same_texts(tmp_path: Path) -> None:
    write(tmp_path / "folder", {f"{'abc'[index]}.txt": text for index, text in enumerate(DOCUMENTS)})
    table = datasets.Dataset.from_dict({"body": DOCUMENTS, "number": [1, 2, 3]})
    table.save_to_disk(str(tmp_path / "saved"))
    table.to_parquet(str(tmp_path / "table.parquet"))
    table.to_json(str(tmp_path / "table.jsonl"))
    table.to_csv(str(tmp_path / "table.csv"))
    for name in ("folder", "saved", "table.parquet", "table.jsonl", "table.csv"):
        source = opened(tmp_path / name)
        assert list(texts(source)) == DOCUMENTS, name
        assert [source.sample(row) for row in range(3)] == DOCUMENTS


def test_a_file_is_cut_into_documents_paragraphs_or_lines(tmp_path: Path) -> None:
    write(tmp_path, {"a.md": "\ufeffone\r\ntwo\n\nthree\n", "deep/b.text": "four\n"})
    for unit, expected in {
        "document": ["one\ntwo\n\nthree\n", "four\n"],
        "paragraph": ["one\ntwo", "three\n", "four\n"],
        "line": ["one", "two", "three", "four"],
    }.items():
        assert list(texts(opened(tmp_path, text_unit=unit))) == expected


def test_empty_texts_are_dropped_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = {"text": ["", "a", None, " \n\t\u3000", "b"], "label": [0, 1, 2, 3, 4]}
    datasets.Dataset.from_dict(table).save_to_disk(str(tmp_path / "saved"))
    source = opened(tmp_path / "saved", label_column="label")
    assert list(texts(source)) == ["a", "b"]
    labels = source.labels()
    assert labels is not None
    assert labels.tolist() == source.column_values("label").tolist() == [1, 4]
    assert "3 of 5 texts of train of" in capsys.readouterr().out
    write(tmp_path / "blank", {"a.txt": " \n"})
    with pytest.raises(ConfigError, match=r"all 1 texts of train of .* are empty"):
        opened(tmp_path / "blank")


def test_what_is_not_utf8_is_named_or_replaced_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {"a.txt": "fine", "b.txt": "naïve".encode("latin-1"), "c.txt": "fine too"})
    with pytest.raises(ConfigError, match=r"b\.txt is not UTF-8 .*--invalid_utf8 replace") as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)
    assert list(texts(opened(tmp_path, invalid_utf8="replace"))) == ["fine", "na\ufffdve", "fine too"]
    assert "1 of 3 rows of train have characters that were not UTF-8" in capsys.readouterr().out


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    file = write(tmp_path, {"a [1]*.txt": "before"}) / "a [1]*.txt"
    before = opened(tmp_path)
    assert list(texts(before)) == ["before"]
    assert opened(tmp_path).fingerprint() == before.fingerprint()
    file.write_text("behind")
    os.utime(file, ns=(1, 1))
    after = opened(tmp_path)
    assert list(texts(after)) == ["behind"]
    assert after.fingerprint() != before.fingerprint()


def test_splits_are_told_by_names_and_no_file_is_left_out(tmp_path: Path) -> None:
    named = opened(write(tmp_path / "named", {"wiki.train.txt": "a", "wiki.test.txt": "b", "wiki.valid.txt": "c"}))
    assert named.test is not None
    assert (list(texts(named)), list(texts(named.test))) == (["a"], ["b"])
    folders = opened(write(tmp_path / "folders", {"train/x.txt": "a", "train/test.txt": "b", "val/y.txt": "c"}))
    assert folders.test is not None
    assert (list(texts(folders)), list(texts(folders.test))) == (["b", "a"], ["c"])
    essays = opened(write(tmp_path / "essays", {"test.txt": "a", "cats.txt": "b", ".hidden.txt": "c"}))
    assert (list(texts(essays)), essays.test) == (["b", "a"], None)
    with pytest.raises(ConfigError, match=r"2 text files outside of them \(cats.txt, dogs.txt\)"):
        opened(write(tmp_path / "mixed", {"train/a.txt": "a", "test/b.txt": "b", "cats.txt": "c", "dogs.txt": "d"}))


def test_columns_of_strings_are_found_else_named(tmp_path: Path) -> None:
    columns = {"title": ["t"], "body": ["b"], "stars": [3], "tokens": [["a", "b"]]}
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "saved"))
    for settings, message in {
        (): r"several columns fit \(title, body\): choose one with --text_column",
        ("text_column", "stars"): "--text_column stars holds no texts but Value",
        ("text_column", "tokens"): "--text_column tokens holds no texts but List",
        ("text_column", "none"): "--text_column none is not a column; there are: title",
    }.items():
        with pytest.raises(ConfigError, match=message) as caught:
            opened(tmp_path / "saved", **dict([settings] if settings else []))
        assert "\n" not in str(caught.value)
    assert list(texts(opened(tmp_path / "saved", text_column="body"))) == ["b"]


def test_the_demo_set_needs_no_flag() -> None:
    source = open_texts(TextDataConfig.tiny())
    assert source.test is not None
    assert source.test.split == "test"
    assert source.label_column == "label"
    assert len(list(texts(source))) == len(source)
    assert list(texts(source, every=100)) == list(texts(source))[::100]


def test_texts_are_the_same_for_any_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_texts(TextDataConfig.tiny()).part(range(3, 400, 2))  # type: ignore[arg-type]
    expected = [source.sample(row) for row in range(len(source))]
    assert 0.5 < text_bytes(source) / sum(len(text.encode()) for text in expected) < 2
    for block in (1, 20_000, 10**9):
        monkeypatch.setattr("hfssl.data.texts.rows._BLOCK_BYTES", block)
        assert list(texts(source)) == expected
        assert list(texts(source, every=7)) == expected[::7]


def test_rows_held_out_are_documents(tmp_path: Path) -> None:
    rows = [f"text {number}" if number % 3 else "" for number in range(300)]
    datasets.Dataset.from_dict({"text": rows}).save_to_disk(str(tmp_path / "saved"))
    source = open_texts(TextDataConfig(dataset=str(tmp_path / "saved")))
    assert source.test is not None
    assert sorted([*texts(source), *texts(source.test)]) == sorted(row for row in rows if row)
    assert len(source.test) == 10
