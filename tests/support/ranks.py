"""Two processes that stay: they run one function after another, as two ranks of a gloo group or singly."""

import os
import pickle
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from tests.support.processes import CONTEXT, answered, environments, received


class Ranks:
    """A pair of processes, started at the first call and again after a failure.

    A function finds them as a fresh process would be: without a process group, an Accelerator, openers of few rows or
    variables of the function before. It must not leave patches behind; one that does belongs in `in_processes`.
    """

    def __init__(self) -> None:
        self._started: list[tuple[BaseProcess, Connection]] = []

    def two(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What `function(*arguments)` returns on each of two ranks of one group."""
        return self._results(2, function, arguments)

    def one(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function(*arguments)` returns in a process that is not the caller's."""
        return self._results(1, function, arguments)[0]

    def close(self) -> None:
        """End both processes."""
        for process, connection in self._started:
            connection.close()
            process.kill()
            process.join()
        self._started = []

    def _results(self, world_size: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> list[Any]:
        if not self._started:
            self._started = [_start(), _start()]
        chosen = self._started[:world_size]
        try:
            for (_, connection), environment in zip(chosen, environments(world_size), strict=True):
                connection.send_bytes(pickle.dumps((environment, function, arguments)))
            return [received(*each) for each in chosen]
        except BaseException:
            self.close()  # the other rank may wait for this one
            raise


def _start() -> tuple[BaseProcess, Connection]:
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _serve(connection: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    before = dict(os.environ)
    while True:
        try:
            environment, function, arguments = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        answer = answered(environment, function, arguments)
        _forget(before)
        connection.send_bytes(pickle.dumps(answer))


def _forget(environment: dict[str, str]) -> None:
    """Leave nothing of one function to the next."""
    from accelerate.state import AcceleratorState, GradientState

    from tests.support.openers import use_real_rows

    os.environ.clear()
    os.environ.update(environment)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    use_real_rows()
