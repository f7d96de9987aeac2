"""The committed cards: whole, linked, tabulated, and without anything of the machine that made them."""

import json
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from benchmarks.model_cards import CARDS, CLOSING, OPENING, table
from hfssl.catalog import method_names

FOLDERS = sorted(path for path in CARDS.iterdir() if path.is_dir())


def test_the_table_is_that_of_the_cards_and_every_method_has_one() -> None:
    assert (CARDS / "README.md").read_text(encoding="utf-8") == OPENING + table()
    assert CLOSING in table()
    tags = {tag for folder in FOLDERS for tag in ModelCard.load(folder / "README.md").data.tags}
    assert set(method_names()) <= tags


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_card_shows_what_lies_beside_it_and_nothing_of_its_machine(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert links
    assert all((folder / link).is_file() for link in links)
    assert json.loads((folder / "eval" / "summary.json").read_text(encoding="utf-8"))["steps"] > 0
    assert not re.search(r"/(home|root|tmp|work|Users)/", text)
    assert "not finished" not in text
