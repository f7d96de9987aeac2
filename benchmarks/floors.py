"""Whether hfssl works with the oldest versions that it allows: its fast tests, adapters and exports with the floors of pyproject.

    python benchmarks/floors.py

Each `>=` among the dependencies of pyproject.toml becomes `==`, in a fresh virtual environment with the wheel; tools of the
tests are the newest. `.ci/installed` makes the environment and runs the tests. Writes benchmarks/results/floors.json and
leaves with the exit status of the tests.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "floors.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    floors = floors_of(ROOT / "pyproject.toml")
    with tempfile.TemporaryDirectory(prefix="floors-") as scratch:
        started = time.monotonic()
        status = _tried(floors, Path(scratch))
        report = {
            "command": shlex.join(["python", *sys.argv]),
            "python": platform.python_version(),
            "floors": floors,
            "installed": _installed(Path(scratch) / "environment"),
            "seconds": round(time.monotonic() - started),
            "tests": _counted(Path(scratch) / "tests.xml"),
        }
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{report['tests']}\nwritten to {arguments.output}")
    sys.exit(status)


def floors_of(pyproject: Path) -> dict[str, str]:
    """Package -> the oldest version that the dependencies allow."""
    dependencies = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["dependencies"]
    return dict(dependency.split(",")[0].split(">=") for dependency in dependencies)


def _tried(floors: dict[str, str], scratch: Path) -> int:
    """Exit status of the tests."""
    constraints = scratch / "floors.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in floors.items()), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    environment["PYTEST_ADDOPTS"] = f"--junitxml={scratch / 'tests.xml'}"
    command = [ROOT / ".ci" / "installed", scratch / "environment", "-c", constraints]
    return subprocess.run(command, env=environment).returncode


def _installed(environment: Path) -> dict[str, str]:
    """Package -> version of all that is in the environment."""
    command = [environment / "bin" / "pip", "list", "--format", "json"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {package["name"]: package["version"] for package in listed}


def _counted(report: Path) -> dict[str, Any]:
    """How many tests passed, and the names of those that did not."""
    tests = [*ElementTree.parse(report).iter("testcase")]
    failed = [test for test in tests if test.find("failure") is not None or test.find("error") is not None]
    skipped = sum(test.find("skipped") is not None for test in tests)
    names = sorted(f"{test.get('classname')}::{test.get('name')}" for test in failed)
    return {"passed": len(tests) - len(failed) - skipped, "skipped": skipped, "failed": names}


if __name__ == "__main__":
    main()
