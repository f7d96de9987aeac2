"""What text data can be told, and what is refused before anything is read."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hfssl.config.parse import parse
from hfssl.data.texts.config import TextDataConfig, reads_text_files
from hfssl.errors import ConfigError
from hfssl.methods.mlm.config import MLMConfig

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tokenizer": "x", "train_tokenizer": "bpe"}, "exclude each other: .*--train_tokenizer none"),
    ({"tokenizer": "x", "vocab_size": 1000}, "vocab_size has no effect"),
    ({"tokenizer": "x", "lowercase": True}, "lowercase has no effect"),
    ({"train_tokenizer": "bpe", "vocab_size": 20}, "vocab_size must be at least 300, got 20"),
    ({"max_length": 2}, "max_length must be at least 8, got 2"),
    ({"num_workers": -1}, "num_workers must be at least 0"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_settings_that_can_not_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        TextDataConfig(**settings)
    assert "\n" not in str(caught.value)


def write(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return str(folder)


def test_what_is_not_there_or_holds_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    pictures = write(tmp_path / "pictures", "a.png")
    for dataset, message in {
        "demo:digits": "not an embedded set; there are: demo:pydocs",
        str(tmp_path / "nowhere"): "does not exist",
        str(tmp_path / "empty"): "is an empty folder",
        pictures: r"holds neither texts \(.md .text .txt\) nor tables",
        f"{pictures}/a.png": r"is a .png file; a file must be one of .*\.txt",
    }.items():
        with pytest.raises(ConfigError, match=message) as caught:
            TextDataConfig(dataset=dataset).check()
        assert "\n" not in str(caught.value)
    TextDataConfig(dataset="owner/name").check()


def test_a_folder_is_of_text_files_or_of_tables(tmp_path: Path) -> None:
    assert reads_text_files(write(tmp_path / "texts", "a.txt", "deep/b.md", "README.md"))
    assert reads_text_files(write(tmp_path / "notes", "README.md"))
    assert reads_text_files(f"{tmp_path}/texts/a.txt")
    assert not reads_text_files(write(tmp_path / "tables", "README.md", "LICENSE.txt", "train.parquet", ".git/a.txt"))
    assert not reads_text_files(write(tmp_path / "saved", "state.json", "notes.txt"))
    mixed = write(tmp_path / "mixed", "README.md", "a.txt", "b.csv", "deep/LICENSE.txt")
    with pytest.raises(ConfigError, match=r"text files and tables \(a.txt, b.csv\)"):
        TextDataConfig(dataset=mixed).check()


def test_settings_of_text_files_are_refused_elsewhere_and_the_other_way_round(tmp_path: Path) -> None:
    texts, table = write(tmp_path / "texts", "a.txt"), f"{write(tmp_path, 'table.csv')}/table.csv"
    for dataset in (table, "demo:pydocs", "owner/name"):
        for settings in ({"text_unit": "line"}, {"invalid_utf8": "replace"}):
            TextDataConfig(dataset=texts, **settings).check()  # type: ignore[arg-type]
            with pytest.raises(ConfigError, match=r"has no effect: .* is not read as plain text files"):
                TextDataConfig(dataset=dataset, **settings).check()  # type: ignore[arg-type]
        TextDataConfig(dataset=dataset, text_column="body").check()
    with pytest.raises(ConfigError, match="text_column has no effect"):
        TextDataConfig(dataset=texts, text_column="body").check()


def test_text_settings_need_no_torch() -> None:
    code = "import sys, hfssl.data.texts.config as c; c.TextDataConfig.tiny().check(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_preset_names_columns_of_its_own_data_only(tmp_path: Path) -> None:
    folder = write(tmp_path / "texts", "a.txt")
    run = parse(MLMConfig, TextDataConfig, ["--config", "demo", "--dataset", folder])
    assert (run.data.text_column, run.data.vocab_size) == (None, 4000)
    with pytest.raises(ConfigError, match="text_column has no effect"):
        parse(MLMConfig, TextDataConfig, ["--config", "demo", "--dataset", folder, "--text_column", "text"])
