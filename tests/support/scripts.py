"""Scripts of recipes/ in a fresh process that has the imports already: forked, where a law needs no new interpreter."""

import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from tests.support.processes import in_processes

RECIPES = Path(__file__).parents[2] / "recipes"


def run_recipe(name: str, *argv: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """What `python recipes/NAME.py ARGV` prints and returns, run in the folder `cwd`."""
    command = [str(RECIPES / f"{name}.py"), *argv]
    (answer,) = in_processes(_run, command, cwd)
    return subprocess.CompletedProcess(command, *answer)


def _run(command: list[str], cwd: Path) -> tuple[int, str, str]:
    os.chdir(cwd)
    sys.argv = command
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        for stream, file in ((sys.stdout, out), (sys.stderr, error)):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
        code = _exit_code(command[0])
        said = []
        for stream, file in ((sys.stdout, out), (sys.stderr, error)):
            stream.flush()
            file.seek(0)
            said.append(file.read().decode())
    return code, said[0], said[1]


def _exit_code(script: str) -> int:
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
