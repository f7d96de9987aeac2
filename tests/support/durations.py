"""What each test costs: `pytest --durations_to FILE` writes it, and tests/slow_tests.txt is made of that file.

Seconds are those of all processors, in this process and all below it, so that they hold on a busy machine too. Tests
that use a shared fixture pay for it in equal parts, so that the sum is what the suite costs.
"""

from collections import Counter
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest


class Recorder:
    """A plugin of pytest: measures in the process that runs a test, writes in the one that reports."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._process = psutil.Process()
        self._start = 0.0  # of the test that runs
        self._set_up: dict[str, float] = {}  # shared fixtures that the test that runs was the first to use
        self._own: dict[str, float] = {}
        self._users: dict[str, list[str]] = {}
        self._of_fixtures: Counter[str] = Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
        if fixturedef.scope == "function":
            return (yield)
        start = self._used()
        result = yield
        self._set_up[_name(fixturedef)] = self._used() - start
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        self._start, self._set_up = self._used(), {}
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Function) -> Generator[None, object, object]:
        own = self._used() - self._start - sum(self._set_up.values())
        definitions = (each[-1] for each in item._fixtureinfo.name2fixturedefs.values())
        shared = [_name(each) for each in definitions if each.scope != "function"]
        item.user_properties.append(("seconds", (own, self._set_up, shared)))
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            own, set_up, shared = dict(report.user_properties)["seconds"]
            self._own[report.nodeid] = own
            self._of_fixtures.update(set_up)
            for name in shared:
                self._users.setdefault(name, []).append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not hasattr(session.config, "workerinput"):
            lines = [f"{seconds:.2f} {name}\n" for name, seconds in self._shared_out().items()]
            self._file.write_text("".join(lines), encoding="utf-8")

    def _shared_out(self) -> dict[str, float]:
        """Test -> its own seconds, and its part of those of its fixtures."""
        seconds = Counter(self._own)
        for fixture, users in self._users.items():
            seconds.update(dict.fromkeys(users, self._of_fixtures[fixture] / len(users)))
        return dict(seconds)

    def _used(self) -> float:
        """Processor seconds of this process and of those below it, the ended ones too."""
        total = 0.0
        for process in (self._process, *self._process.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:  # ended just now: its parent has its times
                continue
            total += times.user + times.system + times.children_user + times.children_system
        return total


def _name(fixture: pytest.FixtureDef[object]) -> str:
    return f"{fixture.baseid}::{fixture.argname}"
