"""Offline, one thread a process, and a cache of its own for the whole session."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.hub_server import LocalHub

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
    if "hfssl.runs.open_session" in sys.modules:
        from hfssl.data.audio.source import open_recordings
        from hfssl.data.images.source import open_images
        from hfssl.data.texts.source import open_texts
        from hfssl.runs import open_session as session

        session.OPENERS |= {"image": open_images, "text": open_texts, "audio": open_recordings}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator["LocalHub"]:
    """A local server of repositories, empty; `environment()` points a fresh process at it."""
    from tests.support.hub_server import LocalHub

    with LocalHub(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def at_hub(hub: "LocalHub", monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "LocalHub":
    """The local server, to which this process's own client speaks, without waiting between attempts."""
    from huggingface_hub import constants

    from hfssl.hub import errors as hub_errors
    from hfssl.hub import push as pushing
    from tests.support.hub_server import OWNER_TOKEN

    settings = {
        "ENDPOINT": hub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_TOKEN_PATH": str(tmp_path / "no-token"),
    }
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", OWNER_TOKEN)
    for module in (pushing, hub_errors):
        monkeypatch.setattr(module, "WAITS", (0.0, 0.0))
    return hub
