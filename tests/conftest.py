"""Offline, one thread a process, and a cache of its own for the whole session."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.slow_tests import names_in_file

if TYPE_CHECKING:
    from tests.support.hub_server import LocalHub
    from tests.support.interpreter import Interpreter
    from tests.support.ranks import Ranks

if "HFSSL_TESTS_CACHE" not in os.environ:  # the first of all processes of these tests
    os.environ["HFSSL_TESTS_CACHE"] = tempfile.mkdtemp(prefix="hfssl-tests-")
    atexit.register(shutil.rmtree, os.environ["HFSSL_TESTS_CACHE"], ignore_errors=True)
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "ACCELERATE_USE_CPU": "true",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HFSSL_CACHE": os.environ["HFSSL_TESTS_CACHE"],
}
for _name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"):
    os.environ.pop(_name, None)

if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    # A core of its own for each worker and the processes that it starts: two threads of each on two cores take 70 times as
    # long for a batch norm as one.
    _cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_cores[int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) % len(_cores)]})

_STARTING = {"ranks", "without_hfssl", "other_interpreter"}  # fixtures


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--method", action="append", metavar="NAME", help="laws of this method only; may be given again")
    parser.addoption("--durations_to", metavar="FILE", help="write the processor seconds of each test here")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a method that does not exist; measure tests where that is asked for."""
    from hfssl.catalog import method_names

    for name in config.getoption("--method") or []:
        if name not in [*method_names(), "toy"]:
            raise pytest.UsageError(f"--method {name}: no such method; there are: {', '.join(method_names())}, toy")
    if config.getoption("--durations_to"):
        from tests.support.durations import Recorder

        config.pluginmanager.register(Recorder(Path(config.getoption("--durations_to"))))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker for each core, four at most; none for a few tests: they are done before another is there."""
    is_few = all("::" in name or Path(name).name.startswith("test_") for name in config.args)
    return 0 if is_few else min(4, len(os.sched_getaffinity(0)))


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what starts processes or was measured as such."""
    measured = names_in_file()
    for item in items:
        starts_processes = not _STARTING.isdisjoint(getattr(item, "fixturenames", ()))
        if starts_processes or item.nodeid.split("[")[0] in measured:
            item.add_marker("slow")


@pytest.hookimpl(tryfirst=True)  # before fixtures open anything
def pytest_runtest_setup() -> None:
    """Forget that an earlier test let sessions open a few rows."""
    if "hfssl.runs.open_session" in sys.modules:
        from tests.support.openers import use_real_rows

        use_real_rows()


@pytest.fixture(scope="session")
def ranks() -> Iterator["Ranks"]:
    """Two warm processes that run functions as two ranks, or one of them singly."""
    from tests.support.ranks import Ranks

    pair = Ranks()
    yield pair
    pair.close()


@pytest.fixture(scope="session")
def without_hfssl() -> Iterator["Interpreter"]:
    """A fresh interpreter for which hfssl is not installed."""
    from tests.support.interpreter import Interpreter

    interpreter = Interpreter(without=("hfssl",))
    yield interpreter
    interpreter.close()


@pytest.fixture(scope="session")
def other_interpreter() -> Iterator["Interpreter"]:
    """A fresh interpreter with other hashes, which knows hfssl."""
    from tests.support.interpreter import Interpreter

    interpreter = Interpreter(
        PYTHONHASHSEED="7", PYTHONPATH=os.pathsep.join(filter(None, sys.path)), TOKENIZERS_PARALLELISM="true"
    )
    yield interpreter
    interpreter.close()


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
