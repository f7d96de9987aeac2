"""A fresh interpreter that stays: it runs one piece of code after another, for laws about other processes."""

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

_SERVER = """
import json, os, sys, traceback
sys.modules.update(dict.fromkeys(sys.argv[1:]))  # as if they were not installed
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what libraries print is no answer
for line in sys.stdin:
    code, arguments = json.loads(line)
    names = {"arguments": arguments, "answer": None}
    try:
        exec(code, names)
        said = {"answer": names["answer"]}
    except BaseException:
        said = {"error": traceback.format_exc()}
    print(json.dumps(said), file=answers, flush=True)
"""


class Interpreter:
    """Started at the first call, in an empty folder; the modules `without` cannot be imported there."""

    def __init__(self, *, without: tuple[str, ...] = (), **environment: str) -> None:
        self._without = without
        self._environment = os.environ | environment
        self._folder = tempfile.TemporaryDirectory()
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, code: str, *arguments: Any) -> Any:
        """Run `code` with the list `arguments`: what it leaves in `answer`. An exception there fails the test here."""
        if self._process is None:
            self._process = self._started()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([code, arguments]), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, f"the interpreter ended with {self._process.wait()}"
        said = json.loads(line)
        assert "error" not in said, said["error"]
        return said["answer"]

    def close(self) -> None:
        """End the interpreter."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._folder.cleanup()

    def _started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", _SERVER, *self._without],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=self._folder.name,
            env=self._environment,
        )
