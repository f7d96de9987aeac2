"""Being asked to stop: SIGTERM, SIGINT, or a launcher that has vanished."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from hfssl.config.invocation import launcher_arguments


class StopRequest:
    """A context in which signals ask to stop instead of killing; a second SIGINT kills as usual.

    Signals reach the main thread only: in another one only a vanished launcher asks to stop.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}
        self._launcher = os.getppid() if launcher_arguments() is not None else None

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT) if _is_main_thread() else ():
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


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
