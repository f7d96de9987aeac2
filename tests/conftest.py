"""Offline, one thread a process, and a cache of its own for the whole session."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.hub_server import LocalHub

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "ACCELERATE_USE_CPU": "true",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HFSSL_CACHE": tempfile.mkdtemp(prefix="hfssl-tests-"),
}
for _name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"):
    os.environ.pop(_name, None)


@pytest.fixture(autouse=True)
def own_openers() -> Iterator[None]:
    """A test that lets sessions open a few rows does so for itself alone."""
    yield
    if "hfssl.session" in sys.modules:
        from hfssl import session
        from hfssl.data.audio import open_recordings
        from hfssl.data.image import open_images
        from hfssl.data.text import open_texts

        session.OPENERS |= {"image": open_images, "text": open_texts, "audio": open_recordings}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator["LocalHub"]:
    """A local server of repositories, empty; `environment()` points a fresh process at it."""
    from tests.hub_server import LocalHub

    with LocalHub(tmp_path / "hub") as server:
        yield server
