"""Which rows a run was made of, and under what terms, as the run folder and the card tell it."""

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest

from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.source import open_images
from hfssl.data.provenance import is_public, not_public, provenance
from hfssl.reporting.card import card_of, render
from hfssl.reporting.figure_kinds import figure_kind
from tests.support.hub_server import LocalHub
from tests.support.run_folder import finished

OPENED = """
import json, sys
from hfssl.data.provenance import is_public, not_public, provenance
from hfssl.data.texts.source import open_texts
from hfssl.data.texts.config import TextDataConfig
print(json.dumps(provenance(open_texts(TextDataConfig(dataset="ada/rows")))))
"""


@pytest.mark.parametrize(("license", "private"), [("cc-by-4.0", False), (None, True)])
def test_of_a_data_set_on_the_hub_commit_license_and_readers_are_known(
    hub: LocalHub, license: str | None, private: bool
) -> None:
    table = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": [f"row {number}" for number in range(80)]}), table)
    hub.create("ada/rows", kind="dataset", private=private)
    files = {"data/train-00000.parquet": table.getvalue()}
    head = {} if license is None else {"README.md": f"---\nlicense: {license}\n---\n".encode()}
    commit = hub.commit("ada/rows", files | head, kind="dataset")
    done = subprocess.run(
        [sys.executable, "-c", OPENED], env=hub.environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    known = {"revision": commit.oid, "license": license, "is_public": not private}
    assert json.loads(done.stdout.splitlines()[-1]) == known


@pytest.mark.parametrize(
    ("page", "is_seen"),
    [({"private": False, "gated": False}, True), ({"private": True}, False), ({"gated": "auto"}, False), (None, False)],
)
def test_data_that_the_hub_shows_to_everybody_is_public(
    page: dict[str, object] | None, is_seen: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def dataset_info(self: object, name: str, **given: object) -> SimpleNamespace:
        assert given["token"] is False
        if page is None:
            raise OSError("no network")
        return SimpleNamespace(**{"private": False, "gated": False} | page)

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", dataset_info)
    assert is_public("someone/textures") == is_seen
    assert is_public("demo:digits")
    assert not is_public(str(tmp_path))


def test_no_card_names_or_shows_data_that_not_everybody_sees(tmp_path: Path) -> None:
    run_dir = finished(tmp_path, ["--dataset", "someone/textures"])
    assert "someone/textures" in render(card_of(run_dir))
    known: dict[str, object] = {"revision": "a1b2", "license": "mit"}
    stored = run_dir.read_config()
    assert not_public(stored["local"], known | {"is_public": True}) == stored["local"]
    run_dir.write_config(stored | {"local": not_public(stored["local"], known | {"is_public": False})})
    run_dir.write_environment(run_dir.read_environment() | {"data": known})
    card = card_of(run_dir)
    text = render(card)
    assert "textures" not in text
    assert "a1b2" not in text
    assert "a local data set" in text
    assert card.is_of_local_data
    assert [name for name in card.figures if not figure_kind(Path(name)).is_public] == []


def test_of_demos_the_license_is_known() -> None:
    source = open_images(ImageDataConfig(dataset="demo:digits"))
    known = provenance(source)
    assert known["revision"] is None
    assert str(known["license"]).startswith("CC BY 4.0")


def test_the_card_names_them_where_the_run_recorded_them(tmp_path: Path) -> None:
    run_dir = finished(tmp_path, ["--dataset", "someone/textures"])
    assert "| revision | not recorded |" in render(card_of(run_dir))
    run_dir.write_environment(run_dir.read_environment() | {"data": {"revision": "a1b2", "license": "mit"}})
    text = render(card_of(run_dir))
    assert "| revision | a1b2 |" in text
    assert "| license of the data | mit |" in text
