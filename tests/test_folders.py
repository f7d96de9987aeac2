"""Folders as people have them: which files are rows, of which split and class, and what is said of the others."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import soundfile
from PIL import Image

from hfssl.commands.task_choice import task_for
from hfssl.data.audio.config import AudioDataConfig
from hfssl.data.audio.files import decode, frames_of
from hfssl.data.audio.source import open_recordings
from hfssl.data.images.cache import cached
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.source import open_images
from hfssl.data.labels import class_names_of
from hfssl.data.local_columns import local_features
from hfssl.data.open_source import open_local
from hfssl.data.source import Source
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.source import open_texts
from hfssl.errors import ConfigError
from hfssl.objective import BadRowError
from hfssl.predicting.inputs import open_inputs
from hfssl.predicting.predict_config import PredictConfig
from hfssl.runs.labelled import check_all_are_learned


def image(path: Path, grey: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 12), (grey, grey, grey)).save(path, "PNG")
    return path


def recording(path: Path, seconds: float = 1.0, rate: int = 8000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    waveform = np.linspace(-0.5, 0.5, round(seconds * rate), dtype=np.float32)
    soundfile.write(path, waveform, rate, format="WAV", subtype="FLOAT")
    return path


def images_of(folder: Path, **settings: object) -> Source:
    return open_images(ImageDataConfig(dataset=str(folder), validation_share=0.0, **settings))  # type: ignore[arg-type]


def recordings_of(path: Path, **settings: object) -> Source:
    return open_recordings(AudioDataConfig(dataset=str(path), validation_share=0.0, **settings))  # type: ignore[arg-type]


def texts_of(path: Path, **settings: object) -> Source:
    return open_texts(TextDataConfig(dataset=str(path), validation_share=0.0, **settings))  # type: ignore[arg-type]


def classes_of(source: Source) -> list[str]:
    return [source.label_name(label) for label in source.labels().tolist()]  # type: ignore[union-attr]


def test_names_of_files_choose_no_rows(tmp_path: Path) -> None:
    for number in range(12):
        name = f"soul_train_{number}" if number < 5 else f"test-{number}"
        image(tmp_path / "images" / f"{name}.png")
        recording(tmp_path / "recordings" / f"{name}.wav")
    for name in ("a", "b", "train_reviews_2021"):
        rows = "".join(json.dumps({"text": f"{name} {number}"}) + "\n" for number in range(5))
        (tmp_path / f"{name}.jsonl").write_text(rows)
    assert len(images_of(tmp_path / "images")) == 12
    assert len(recordings_of(tmp_path / "recordings")) == 12
    (tmp_path / "tables").mkdir()
    for file in tmp_path.glob("*.jsonl"):
        file.rename(tmp_path / "tables" / file.name)
    assert len(texts_of(tmp_path / "tables")) == 15


@pytest.mark.parametrize(
    ("train", "test", "validation"),
    [
        ("train", "test", "val"),
        ("Training", "Testing", "Validation"),
        ("Train", "TEST", "dev"),
        ("training", "test", "valid"),
    ],
)
def test_folders_at_the_top_level_are_splits_in_every_spelling(
    train: str, test: str, validation: str, tmp_path: Path
) -> None:
    for split, count in ((train, 4), (test, 3), (validation, 2)):
        for number in range(count):
            for name in ("cat", "dog"):
                image(tmp_path / "data" / split / name / f"{number}.png")
    source = images_of(tmp_path)  # the only folder of a folder is no class
    assert source.test is not None
    assert source.validation is not None
    assert (len(source), len(source.test), len(source.validation)) == (8, 6, 4)
    assert classes_of(source) == ["cat"] * 4 + ["dog"] * 4
    assert any(line.startswith("splits") and f"{test}, 6 files" in line for line in source.reading.lines)


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    for name in ("car", "train", "test"):
        image(tmp_path / name / "0.png")
    source = images_of(tmp_path)
    assert source.test is None
    assert classes_of(source) == ["car", "test", "train"]


def test_files_outside_of_splits_are_named(tmp_path: Path) -> None:
    for name in ("train/cat/0", "train/dog/0", "test/cat/0", "masks/cat/0"):
        image(tmp_path / f"{name}.png")
    with pytest.raises(
        ConfigError, match=r"has the splits train, test and 1 image files outside of them \(masks/cat/0\.png\)"
    ):
        images_of(tmp_path)


def test_two_folders_of_one_split_are_named(tmp_path: Path) -> None:
    for name in ("train", "val", "validation"):
        image(tmp_path / name / "cat" / "0.png")
    with pytest.raises(ConfigError, match="has val and validation, which all are the split validation"):
        images_of(tmp_path)


def test_the_first_folder_is_the_class_and_deeper_ones_are_groups(tmp_path: Path) -> None:
    for name in ("benign/patient00/0", "benign/patient01/a/0", "malignant/patient02/0", "malignant/1"):
        image(tmp_path / f"{name}.png")
    source = images_of(tmp_path)
    assert classes_of(source) == ["benign", "benign", "malignant", "malignant"]
    groups = ["benign/patient00", "benign/patient01/a", "malignant", "malignant/patient02"]
    assert source.column_values("folder").tolist() == groups
    assert any("(benign, malignant); deeper folders are in the column folder" in line for line in source.reading.lines)


def test_without_a_class_folder_for_each_file_there_are_no_labels_and_it_is_said(tmp_path: Path) -> None:
    for name in ("cat/0", "dog/0", "1"):
        image(tmp_path / f"{name}.png")
    source = images_of(tmp_path)
    assert source.label_column is None
    assert "labels      none: 1 of 3 files lie in no class folder (cat, dog)" in source.reading.lines


def test_a_class_that_no_training_row_is_of_is_refused(tmp_path: Path) -> None:
    for name in ("train/cat/0", "train/dog/0", "test/cat/0", "test/eel/0", "test/eel/1"):
        image(tmp_path / f"{name}.png")
    source = images_of(tmp_path)
    with pytest.raises(
        ConfigError, match=r"the split test has labels that the training rows do not have: eel \(2 rows\)"
    ):
        check_all_are_learned(source, class_names_of(source))


def test_a_path_is_never_a_pattern(tmp_path: Path) -> None:
    image(tmp_path / "run[1]" / "0.png")
    for number in range(3):
        image(tmp_path / "run1" / f"{number}.png")
        (tmp_path / "run[1]" / f"{number}.txt").write_text("notes")
    assert len(images_of(tmp_path / "run[1]")) == 1
    (tmp_path / "tables[a]").mkdir()
    (tmp_path / "tables[a]" / "b*.csv").write_text("text\none\n")
    assert len(texts_of(tmp_path / "tables[a]")) == 1


def test_linked_folders_are_followed_once_and_pipes_and_run_folders_never(tmp_path: Path) -> None:
    image(tmp_path / "elsewhere" / "0.png")
    image(tmp_path / "data" / "cat" / "0.png")
    os.symlink(tmp_path / "elsewhere", tmp_path / "data" / "dog")
    os.symlink(tmp_path / "data", tmp_path / "data" / "cat" / "circle")
    os.mkfifo(tmp_path / "data" / "cat" / "pipe.png")
    image(tmp_path / "data" / "runs" / "mae-000" / "figures" / "loss.png")
    for name in ("config.yaml", "metrics.jsonl"):
        (tmp_path / "data" / "runs" / "mae-000" / name).write_text("")
    source = images_of(tmp_path / "data")
    assert classes_of(source) == ["cat", "dog"]


def test_what_is_left_out_is_said_with_the_reason_and_warned_of(tmp_path: Path) -> None:
    recording(tmp_path / "0.wav")
    recording(tmp_path / "1.WAV")
    for name in ("2.m4a", "3.m4a", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav"))).write_bytes(b"x")
    source = recordings_of(tmp_path)
    assert len(source) == 2
    (line,) = source.reading.lines
    assert line.startswith("files       2 used (.wav); 1 left out: the name is not UTF-8 ")
    assert "2 .m4a not read (convert with: ffmpeg -i INPUT OUTPUT.flac); 1 .txt not read" in line
    (warning,) = source.reading.warnings
    assert warning.startswith(
        "60.0% of the files are left out (1 files: the name is not UTF-8; 2 files: .m4a is not read)"
    )


def test_a_folder_of_other_files_says_which(tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(b"PK")
    with pytest.raises(ConfigError, match=r"nor tables .*, but 1 \.zip not read \(extract the archive first\)"):
        ImageDataConfig(dataset=str(tmp_path)).check()


@pytest.mark.parametrize("name", ["a.opus", "a.ogg", "a.aiff", "a.caf"])
def test_every_kind_that_the_library_reads_is_read(name: str, tmp_path: Path) -> None:
    waveform = np.sin(np.arange(16_000, dtype=np.float32) / 20) / 2
    kind = {"opus": {"format": "OGG", "subtype": "OPUS"}, "ogg": {"format": "OGG"}, "aiff": {"format": "AIFF"}}
    soundfile.write(tmp_path / name, waveform, 16_000, **kind.get(name[2:], {"format": "CAF"}))
    source = recordings_of(tmp_path)
    assert len(decode(source.sample(0), 16_000)) == pytest.approx(16_000, abs=400)


def test_files_that_metadata_does_not_list_have_no_labels_and_are_used_without(tmp_path: Path) -> None:
    for number in range(6):
        recording(tmp_path / f"{number}.wav")
    rows = "".join(f"{number}.wav,null {number}\n" for number in range(4))
    (tmp_path / "metadata.csv").write_text(f"file_name,text\n{rows}gone.wav,x\n")
    source = recordings_of(tmp_path)
    assert len(source) == 6
    said = "metadata    metadata.csv: 4 of 6 files are listed; 1 rows name files that are not there (gone.wav)"
    assert said in source.reading.lines
    labelled = recordings_of(tmp_path, label_column="text")
    assert classes_of(labelled) == [f"null {number}" for number in range(4)]
    assert list(local_features(tmp_path)) == ["audio", "text", "is_listed"]


def test_cells_are_read_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,label,number,share\nnull,None,1,0.5\nNA,007,-2,1\n"nan",NULL,,2e3\n')
    (tmp_path / "b.tsv").write_text("text\tlabel\nn/a\t01\n")
    rows = texts_of(tmp_path / "a.csv", text_column="text", label_column="label").all_rows
    assert rows["text"][:] == ["null", "NA", "nan"]
    assert rows["label"][:] == ["None", "007", "NULL"]
    assert rows["number"][:] == [1, -2, None]
    assert rows["share"][:] == [0.5, 1.0, 2000.0]
    assert texts_of(tmp_path / "b.tsv", text_column="text").all_rows["label"][:] == ["01"]


def test_a_column_is_of_one_type_in_all_splits(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\na b,1\nc d,2\n")
    (tmp_path / "test.csv").write_text("text,label\ne f,none\n")
    source = texts_of(tmp_path, text_column="text", label_column="label")
    assert source.test is not None
    assert source.labels().tolist() == ["1", "2"]  # type: ignore[union-attr]
    assert source.test.labels().tolist() == ["none"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "text,label\nh\u00e9,1\n".encode("latin-1"), r"a\.csv is not UTF-8: .*iconv -f latin1"),
        ("a.jsonl", b'{"text": "x"}\n{"text": }\n', r"a\.jsonl, line 2, is not JSON: Expecting value"),
        ("a.csv", b"", r"a\.csv is not a table"),
        ("a.parquet", b"PAR1xxxx", r"cannot be opened"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    for opened in (lambda: texts_of(tmp_path / name, text_column="text"), lambda: local_features(tmp_path / name)):
        with pytest.raises(ConfigError, match=said) as caught:
            opened()
        assert "\n" not in str(caught.value)


def test_tables_of_other_columns_or_kinds_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\nx\n")
    (tmp_path / "b.csv").write_text("text,more\nx,y\n")
    with pytest.raises(ConfigError, match=r"a\.csv and .*b\.csv differ in their columns \(more\)"):
        texts_of(tmp_path, text_column="text")
    (tmp_path / "b.csv").rename(tmp_path / "b.tsv")
    (tmp_path / "c.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(ConfigError, match=r"tables of several kinds"):
        texts_of(tmp_path, text_column="text")


def test_tables_of_other_columns_are_joined_and_other_types_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "y", "more": 1}\n')
    rows = texts_of(tmp_path, text_column="text").all_rows
    assert (rows["text"][:], rows["more"][:]) == (["x", "y"], [None, 1])
    (tmp_path / "a.jsonl").write_text('{"text": "x", "more": 1}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "y", "more": "z"}\n')
    with pytest.raises(ConfigError, match=r"the columns of .*a\.jsonl and .*b\.jsonl are of different types") as caught:
        texts_of(tmp_path, text_column="text")
    assert "\n" not in str(caught.value)


def test_texts_of_polars_are_texts(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"text": pa.array(["a b", "c d"], pa.string_view())}), tmp_path / "a.parquet")
    assert texts_of(tmp_path / "a.parquet").rows["text"][:] == ["a b", "c d"]


@pytest.mark.parametrize("indent", [None, 1])
def test_one_object_with_all_rows_is_read_as_rows(indent: int | None, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(
        json.dumps({"version": "1", "data": [{"text": "x"}, {"text": "y"}]}, indent=indent)
    )
    assert texts_of(tmp_path / "rows.json").rows["text"][:] == ["x", "y"]
    asked = {"id": "7", "question": "what?", "answers": [{"text": "def", "answer_start": 4}]}
    article = {"title": "t", "paragraphs": [{"context": "abc def", "qas": [asked]}]}
    (tmp_path / "squad.json").write_text(json.dumps({"version": "1.1", "data": [article]}, indent=indent))
    rows = open_local(tmp_path / "squad.json").splits["train"]
    answers = {"text": ["def"], "answer_start": [4]}
    assert rows[:] == {"id": ["7"], "title": ["t"], "context": ["abc def"], "question": ["what?"], "answers": [answers]}
    assert task_for(str(tmp_path / "squad.json")) == "question_answering"
    (tmp_path / "other.json").write_text(json.dumps({"version": "1", "rows": 3}, indent=1))
    with pytest.raises(ConfigError, match="one JSON object without a list of rows in data"):
        texts_of(tmp_path / "other.json")


def test_images_that_were_written_again_are_decoded_again(tmp_path: Path) -> None:
    for number in range(3):
        image(tmp_path / "images" / f"{number}.png", grey=200)
    (tmp_path / "list.csv").write_text("path\n" + "".join(f"images/{number}.png\n" for number in range(3)))
    for place in ("images", "list.csv"):
        for grey in (200, 0):
            for number in range(3):
                file = image(tmp_path / "images" / f"{number}.png", grey)
                os.utime(file, ns=(grey, grey))
            images = cached(images_of(tmp_path / place), num_channels=3, image_size=12)
            assert images is not None
            assert {int(images[row].max()) for row in range(3)} == {grey}


def test_manifests_name_parts_of_recordings(tmp_path: Path) -> None:
    file = recording(tmp_path / "talk.wav", seconds=4.0)
    rows = [
        {"offset": 1.0, "duration": 0.5},
        {"offset": 3.5, "duration": 9.0},
        {"duration": 2.0},
        {"offset": 5.0, "duration": 1.0},
    ]
    lines = [json.dumps({"audio_filepath": "talk.wav", "text": "x"} | row) for row in rows]
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    source = recordings_of(tmp_path / "manifest.jsonl")
    whole = decode({"bytes": None, "path": str(file)}, 8000)
    for row, (start, end) in enumerate([(8000, 12_000), (28_000, 32_000), (0, 16_000)]):
        assert decode(source.sample(row), 8000).equal(whole[start:end])
        assert frames_of(source.sample(row), 8000) == end - start
        assert len(decode(source.sample(row), 16_000)) == 2 * (end - start)
    with pytest.raises(BadRowError, match=r"begins at 5 s, after the end of the file \(4 s\)"):
        decode(source.sample(3), 8000)
    with pytest.raises(ConfigError, match=r"has a column offset, .* predictions read whole files"):
        open_inputs(PredictConfig(model="m", input=str(tmp_path / "manifest.jsonl")), "recordings")
    bad = {"audio_filepath": "talk.wav", "offset": 2.0, "duration": -1.0}
    (tmp_path / "bad.jsonl").write_text(json.dumps(bad) + "\n")
    with pytest.raises(ConfigError, match=r"duration -1\.0 .* are no part of a recording"):
        recordings_of(tmp_path / "bad.jsonl")
