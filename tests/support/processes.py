"""Real processes for the laws: forked from one server that has paid for the imports, singly or as ranks of a gloo group."""

import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.support.preloaded"])
TIMEOUT_SECONDS = 180.0


def launch(function: Callable[..., Any], *arguments: Any, world_size: int = 1) -> list[tuple[BaseProcess, Connection]]:
    """Start `function(*arguments)` in `world_size` fresh processes that see each other as ranks."""
    started = []
    for environment in environments(world_size):
        receiving, sending = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=_child, args=(sending, environment, function, arguments))
        process.start()
        sending.close()
        started.append((process, receiving))
    return started


def collect(started: list[tuple[BaseProcess, Connection]]) -> list[Any]:
    """What each process returned, in rank order; an exception there fails the test here."""
    try:
        return [received(process, receiving) for process, receiving in started]
    finally:
        for process, _ in started:
            process.join(5.0)
            process.kill()


def received(process: BaseProcess, receiving: Connection) -> Any:
    """The result that a process sends. Raises AssertionError where it sends an exception, dies or is late."""
    assert wait([receiving], TIMEOUT_SECONDS), "a process did not answer in time"
    try:
        kind, value = pickle.loads(receiving.recv_bytes())
    except EOFError:
        process.join(TIMEOUT_SECONDS)
        raise AssertionError(f"a process died with exit code {process.exitcode}") from None
    assert kind == "result", value
    return value


def in_processes(function: Callable[..., Any], *arguments: Any, world_size: int = 1) -> list[Any]:
    """`function(*arguments)` in fresh processes; their results in rank order."""
    return collect(launch(function, *arguments, world_size=world_size))


def environments(world_size: int) -> list[dict[str, str]]:
    """The variables of each rank of a new group, as a launcher sets them; none for a single process."""
    if world_size == 1:
        return [{}]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(world_size))
    return [shared | dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank)) for rank in range(world_size)]


def answered(environment: dict[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """("result", what the function returns) as one rank, or ("error", the traceback).

    The function must have formed one group of the whole world, or none in a world of one. The group is destroyed here
    where the function leaves it open.
    """
    import torch.distributed as dist

    os.environ.update(environment)
    destroy, world_sizes = dist.destroy_process_group, []

    def destroy_and_note(group: Any = None) -> None:
        world_sizes.append(dist.get_world_size())
        destroy(group)

    dist.destroy_process_group = destroy_and_note
    try:
        result = function(*arguments)
        if dist.is_initialized():
            dist.destroy_process_group()
        expected = [int(environment["WORLD_SIZE"])] if environment else []
        assert world_sizes == expected, f"the ranks did not find each other: world sizes {world_sizes}, not {expected}"
        return "result", result
    except BaseException:
        return "error", traceback.format_exc()
    finally:
        dist.destroy_process_group = destroy


def _child(
    sending: Connection, environment: dict[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    import torch

    torch.set_num_threads(1)
    answer = answered(environment, function, arguments)
    sending.send_bytes(pickle.dumps(answer))  # by value: the sender may be gone when a shared tensor is opened
    sending.close()
