"""Being asked to stop: SIGTERM, SIGINT, or a launcher that has vanished."""

import os
import signal
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

_LAUNCHERS = ("accelerate", "torchrun")
_LAUNCHER_MODULES = ("accelerate.commands", "torch.distributed")


class StopRequest:
    """A context in which signals ask to stop instead of killing; a second SIGINT kills as usual."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}
        self._launcher = os.getppid() if launcher_arguments() is not None else None

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def asked(self) -> bool:
        """True from the moment that this process should stop."""
        if self.signal is None and self._launcher is not None and os.getppid() != self._launcher:
            self.signal = signal.SIGTERM  # the launcher died without telling: nobody would collect the results
        return self.signal is not None


def launcher_arguments() -> list[str] | None:
    """The command line of the launcher that started this process, from `accelerate` or `torchrun` on; None without one."""
    try:
        arguments = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return None
    for index, argument in enumerate(arguments[:3]):
        if Path(argument).name in _LAUNCHERS:
            return [Path(argument).name, *arguments[index + 1 :]]
        if argument == "-m" and arguments[index + 1].startswith(_LAUNCHER_MODULES):
            return ["python", *arguments[index:]]
    return None
