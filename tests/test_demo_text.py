"""demo:pydocs: prose in areas, split by document, the same in every process."""

import re
from collections import Counter
from pathlib import Path

import pytest

from hfssl.data.demo import sets as demo
from hfssl.data.demo.pydocs import AREAS, clean, documents, in_test_split
from tests.support.interpreter import Interpreter

pytestmark = pytest.mark.slow  # the first that opens the set makes it, which takes seconds

EXTRACTED_AGAIN = """
import os
os.environ["HFSSL_CACHE"] = arguments[0]
from hfssl.data.demo.pydocs import pydocs
answer = [rows._fingerprint for rows in pydocs().values()]
"""


def test_every_area_has_documents_in_both_splits() -> None:
    sets = demo.SETS["pydocs"]()
    for split, fewest in {"train": 40, "test": 4}.items():
        label = sets[split].features["label"]
        counts = Counter(label.int2str(sets[split]["label"][:]))
        assert set(counts) == {"language reference", *AREAS}
        assert min(counts.values()) >= fewest
    share = len(sets["test"]) / (len(sets["train"]) + len(sets["test"]))
    assert 0.06 < share < 0.14


def test_no_document_and_no_long_paragraph_stands_twice() -> None:
    names = [name for name, _, _ in documents()]
    assert len(names) == len(set(names))
    sets = demo.SETS["pydocs"]()
    texts = [text for rows in sets.values() for text in rows["text"]]
    assert len(texts) == len(names)
    paragraphs = [" ".join(paragraph.split()) for text in texts for paragraph in text.split("\n\n")]
    assert max(Counter(paragraph for paragraph in paragraphs if len(paragraph) > 100).values()) == 1
    assert set(sets["test"]["text"]) == {text for name, _, text in documents() if in_test_split(name)}


def test_it_is_prose() -> None:
    texts = [text for rows in demo.SETS["pydocs"]().values() for text in rows["text"]]
    everything = "\n".join(texts)
    assert ">>> " not in everything
    assert "``" not in everything
    assert not re.search(r"^[=*-]+$", everything, re.MULTILINE)
    assert sum(map(len, texts)) > 1_000_000
    assert sum(character.isalpha() or character.isspace() for character in everything) > 0.9 * len(everything)


def test_the_documents_are_the_same_when_extracted_again_with_another_hash_seed(
    tmp_path: Path, other_interpreter: Interpreter
) -> None:
    here = [rows._fingerprint for rows in demo.SETS["pydocs"]().values()]
    assert other_interpreter(EXTRACTED_AGAIN, str(tmp_path)) == here


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("range(stop) -> range\nrange(start, stop) -> range\n\nReturn an object.", "Return an object."),
        ("Show it.\n\n>>> f(1)\n1\n>>> f(2)\n2\n\nThe end.", "Show it.\n\nThe end."),
        ("Title\n=====\n\nSee :func:`~os.walk` and ``None``.", "Title\n\nSee os.walk and None."),
        (
            "A sentence that was wrapped at seventy-two characters or thereabouts\n    and goes on.",
            "A sentence that was wrapped at seventy-two characters or thereabouts and goes on.",
        ),
        ("Usage:\n\n    first line\n    second line\nend", "Usage:\n\n    first line\n    second line\nend"),
    ],
)
def test_docstrings_become_prose(docstring: str, expected: str) -> None:
    assert clean(docstring) == expected
