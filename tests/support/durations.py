"""What each test costs: `pytest --durations_to FILE` writes it, and tests/slow_tests.txt is made of that file.

Seconds are those of all processors, in this process and all below it, so that they hold on a busy machine too. A test
pays for every shared fixture that it uses, as it does where it runs by itself.
"""

from collections.abc import Generator
from pathlib import Path

import psutil
import pytest


class Recorder:
    """A plugin of pytest: measures in the process that runs a test, writes in the one that reports."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._process = psutil.Process()
        self._of_fixture: dict[object, float] = {}
        self._start = self._shared = 0.0  # of the test that runs
        self._seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
        if fixturedef.scope == "function":
            return (yield)
        start = self._used()
        result = yield
        self._of_fixture[fixturedef] = self._used() - start
        self._shared += self._of_fixture[fixturedef]
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        self._start, self._shared = self._used(), 0.0
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Function) -> Generator[None, object, object]:
        own = self._used() - self._start - self._shared
        used = {definitions[-1] for definitions in item._fixtureinfo.name2fixturedefs.values()}
        item.user_properties.append(("seconds", own + sum(self._of_fixture.get(each, 0.0) for each in used)))
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self._seconds[report.nodeid] = dict(report.user_properties)["seconds"]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not hasattr(session.config, "workerinput"):
            lines = [f"{seconds:.2f} {name}\n" for name, seconds in self._seconds.items()]
            self._file.write_text("".join(lines), encoding="utf-8")

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
