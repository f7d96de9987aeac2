"""Which rows a run was made of, and under what terms, as the run folder and the card tell it."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.source import open_images
from hfssl.data.provenance import provenance
from hfssl.reporting.card import card_of, render
from tests.support.hub_server import LocalHub
from tests.support.run_folder import finished

OPENED = """
import json, sys
from hfssl.data.provenance import provenance
from hfssl.data.texts.source import open_texts
from hfssl.data.texts.config import TextDataConfig
print(json.dumps(provenance(open_texts(TextDataConfig(dataset="ada/rows")))))
"""


@pytest.mark.parametrize("license", ["cc-by-4.0", None])
def test_of_a_data_set_on_the_hub_commit_and_license_are_known(hub: LocalHub, license: str | None) -> None:
    table = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": [f"row {number}" for number in range(80)]}), table)
    hub.create("ada/rows", kind="dataset")
    files = {"data/train-00000.parquet": table.getvalue()}
    head = {} if license is None else {"README.md": f"---\nlicense: {license}\n---\n".encode()}
    commit = hub.commit("ada/rows", files | head, kind="dataset")
    done = subprocess.run(
        [sys.executable, "-c", OPENED], env=hub.environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"revision": commit.oid, "license": license}


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
