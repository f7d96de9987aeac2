"""A fresh interpreter for which hfssl is not installed: it runs the code that a test sends."""

import json
import subprocess
import sys
import tempfile
from typing import Any

_SERVER = """
import json, os, sys, traceback
sys.modules["hfssl"] = None  # as if it were not installed
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what libraries print is no answer
for line in sys.stdin:
    code, arguments = json.loads(line)
    try:
        exec(code, {"arguments": arguments})
        answer = None
    except BaseException:
        answer = traceback.format_exc()
    print(json.dumps(answer), file=answers, flush=True)
"""


class WithoutHfssl:
    """One interpreter, started at the first call, in an empty folder."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, code: str, *arguments: Any) -> None:
        """Run `code` with the list `arguments`; an exception there fails the test here."""
        if self._process is None:
            command = [sys.executable, "-c", _SERVER]
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self._process = subprocess.Popen(command, **pipes, text=True, cwd=self._folder.name)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([code, arguments]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, f"the interpreter ended with {self._process.wait()}"
        error = json.loads(answer)
        assert error is None, error

    def close(self) -> None:
        """End the interpreter."""
        if self._process is not None:
            self._process.communicate()
        self._folder.cleanup()
