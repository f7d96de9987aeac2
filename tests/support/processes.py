"""Real processes for the laws: forked from one server that has paid for the imports, alone or as ranks of a gloo group."""

import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["tests.conftest", "tests.laboratory", "hfssl.commands.pretrain", "hfssl.methods.mae.objective", "torch._dynamo"]
)
TIMEOUT_SECONDS = 180.0


def launch(function: Callable[..., Any], *arguments: Any, world_size: int = 1) -> list[tuple[BaseProcess, Connection]]:
    """Start `function(*arguments)` in `world_size` fresh processes that see each other as ranks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for rank in range(world_size):
        receiving, sending = _CONTEXT.Pipe(duplex=False)
        environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        if world_size == 1:
            environment = {}
        process = _CONTEXT.Process(target=_child, args=(sending, environment, function, arguments))
        process.start()
        sending.close()
        started.append((process, receiving))
    return started


def collect(started: list[tuple[BaseProcess, Connection]]) -> list[Any]:
    """What each process returned, in rank order; an exception there fails the test here."""
    results = []
    try:
        for process, receiving in started:
            assert wait([receiving], TIMEOUT_SECONDS), "a process did not answer in time"
            try:
                kind, value = pickle.loads(receiving.recv_bytes())
            except EOFError:
                process.join(TIMEOUT_SECONDS)
                raise AssertionError(f"a process died with exit code {process.exitcode}") from None
            assert kind == "result", value
            results.append(value)
    finally:
        for process, _ in started:
            process.join(5.0)
            process.kill()
    return results


def in_processes(function: Callable[..., Any], *arguments: Any, world_size: int = 1) -> list[Any]:
    """`function(*arguments)` in fresh processes; their results in rank order."""
    return collect(launch(function, *arguments, world_size=world_size))


def _child(
    sending: Connection, environment: dict[str, Any], function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    os.environ.update({name: str(value) for name, value in environment.items()})
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    world_sizes = []
    destroy = dist.destroy_process_group

    def destroy_and_note(group: Any = None) -> None:
        world_sizes.append(dist.get_world_size())
        destroy(group)

    dist.destroy_process_group = destroy_and_note
    try:
        result = ("result", function(*arguments))
        if dist.is_initialized():
            dist.destroy_process_group()
        expected = [int(environment["WORLD_SIZE"])] if environment else []
        assert world_sizes == expected, f"the ranks did not find each other: world sizes {world_sizes}, not {expected}"
    except BaseException:
        result = ("error", traceback.format_exc())
    sending.send_bytes(pickle.dumps(result))  # by value: the sender may be gone when a shared tensor is opened
    sending.close()
