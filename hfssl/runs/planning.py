"""How long, how large, at what cost: what is said before a run, and what is settled by trying it on a throwaway copy."""

import dataclasses
import gc
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from hfssl.config.run_config import RunConfig
from hfssl.errors import require
from hfssl.distributed import broadcast_object, is_main_process
from hfssl.errors import BatchSizeError, ConfigError
from hfssl.objective import Objective
from hfssl.errors import SharedError
from hfssl.console import quieten_libraries
from hfssl.run_dir import RunDir
from hfssl.runs.open_session import open_session
from hfssl.training.accelerator import start
from hfssl.training.energy import estimate_lines, power_of
from hfssl.training.loop import Session
from hfssl.training.measure import Measured, measure
from hfssl.training.optimizer import NUM_MOMENTS, peak_learning_rate
from hfssl.training.rehearsal import Rehearsal, estimated_bytes
from hfssl.training.report import duration, size
from hfssl.training.start import Start

_MEMORY_SHARE = 0.92  # of a GPU that a search for the batch size may fill: fragmentation and NCCL need the rest
_LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_ENDLESS = 10**9


def settled(
    objective_class: type[Objective], run: RunConfig, model_config: Any, started: Start, accelerator: Accelerator
) -> RunConfig:
    """`run` with numbers in place of `--per_device_batch_size auto` and `--budget_hours`. Called by all ranks."""
    run = _with_batch_size(objective_class, run, model_config, accelerator)
    if run.loop.budget_hours is None or run.loop.max_steps is not None:
        return run
    max_steps = broadcast_object(_stored_length(run, started.run_dir) if is_main_process() else None)
    if max_steps is None:
        if is_main_process():
            print(f"measuring a few steps, to fill {run.loop.budget_hours:g} hours", flush=True)
        measured, _ = measured_copy(objective_class, run, model_config, accelerator)
        max_steps = measured.steps_within(run.loop.budget_hours * 3600, run.loop.evaluate_every)
    return _with_loop(run, max_steps=max_steps)


def _stored_length(run: RunConfig, run_dir: RunDir) -> int | None:
    """The steps that the same budget was turned into when this run began."""
    if not run_dir.is_run():
        return None
    stored = run_dir.read_config()["loop"]
    return stored["max_steps"] if stored.get("budget_hours") == run.loop.budget_hours else None


def measured_copy(
    objective_class: type[Objective],
    run: RunConfig,
    model_config: Any,
    accelerator: Accelerator,
    num_steps: int | None = None,
) -> tuple[Measured, Session]:
    """Real steps on a copy of the run that leaves nothing behind; the session is for reading sizes, its weights are spoiled."""
    if run.loop.max_steps is None and run.loop.num_epochs is None:
        run = _with_loop(run, max_steps=_ENDLESS)
    with tempfile.TemporaryDirectory(prefix="hfssl-") as scratch:
        nowhere = Start(RunDir(Path(scratch)), None, [])
        session, _ = open_session(objective_class, run, model_config, nowhere, accelerator, verbose=False)
        measured = measure(session) if num_steps is None else measure(session, num_steps)
    accelerator.free_memory()
    return measured, session


def _with_loop(run: RunConfig, **values: Any) -> RunConfig:
    return dataclasses.replace(run, loop=dataclasses.replace(run.loop, **values))


def _with_batch_size(objective_class: type[Objective], run: RunConfig, model_config: Any, accelerator: Accelerator) -> RunConfig:
    if run.loop.per_device_batch_size != "auto":
        return run
    total, world = run.loop.global_batch_size, accelerator.num_processes
    require(total % world == 0, f"global_batch_size {total} must be a multiple of the {world} processes")
    share = total // world
    if run.method.default_micro_batch is not None:
        return _with_loop(run, per_device_batch_size=run.method.default_micro_batch)
    if accelerator.device.type == "cpu":
        return _with_loop(run, per_device_batch_size=share)
    found: int | str = 0
    if is_main_process():
        print("searching for the largest batch that fits ...", flush=True)
        found = _searched_in_a_child(objective_class, run, model_config, divisors(share))
    found = broadcast_object(found)
    if isinstance(found, str):
        raise SharedError(f"--per_device_batch_size auto: {found}")
    return _with_loop(run, per_device_batch_size=found)


def divisors(number: int) -> list[int]:
    """Ascending, 1 and `number` included."""
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]


def largest_that_fits(sizes: Sequence[int], fits: Callable[[int], bool]) -> int | None:
    """The largest of the ascending `sizes` for which `fits` holds, by bisection, the largest first; None if none does."""
    if not sizes or fits(sizes[-1]):
        return sizes[-1] if sizes else None
    low, high = -1, len(sizes) - 1  # sizes[low] fits or is none, sizes[high] does not
    while high - low > 1:
        middle = (low + high) // 2
        if fits(sizes[middle]):
            low = middle
        else:
            high = middle
    return sizes[low] if low >= 0 else None


def _searched_in_a_child(
    objective_class: type[Objective], run: RunConfig, model_config: Any, sizes: Sequence[int]
) -> int | str:
    """The size, or why there is none. A process of its own, so that nothing of the search stays on the device."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_search, args=(objective_class, run, model_config, sizes, sender))
    child.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        child.join()
        return f"the search ended with exit code {child.exitcode}; set a number"


def _search(objective_class: type[Objective], run: RunConfig, model_config: Any, sizes: Sequence[int], sender: Any) -> None:
    for name in _LAUNCHER_VARIABLES:
        os.environ.pop(name, None)
    quieten_libraries()
    accelerator = start(run.loop)
    if accelerator.device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(_MEMORY_SHARE)
    try:
        found = largest_that_fits(sizes, lambda size: fits(objective_class, run, model_config, accelerator, size))
    except ConfigError as error:
        sender.send(str(error))
    else:
        sender.send(
            "not even one sample fits: set --gradient_checkpointing, or a smaller model" if found is None else found
        )


def fits(
    objective_class: type[Objective], run: RunConfig, model_config: Any, accelerator: Accelerator, per_device_batch_size: int
) -> bool:
    """Whether whole steps of one micro-batch of this size fit into the device's memory."""
    run = _with_loop(run, per_device_batch_size=per_device_batch_size, global_batch_size=per_device_batch_size)
    try:
        measured_copy(objective_class, run, model_config, accelerator, num_steps=2)
    except torch.OutOfMemoryError:
        return False
    except ConfigError as error:
        if _is_from_size(error):
            return False
        raise
    finally:
        accelerator.free_memory()
        gc.collect()
        torch.cuda.empty_cache()
    return True


def _is_from_size(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, (torch.OutOfMemoryError, BatchSizeError)):
        error = error.__cause__
    return error is not None


def _trained_share(objective: Objective) -> str:
    total = sum(p.numel() for p in objective.parameters())
    trainable = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    share = "" if trainable == total else f", {trainable / total:.2%} of all {total / 1e6:.2f} M"
    return f"{trainable / 1e6:.2f} M trainable parameters{share}"


def opening_lines(session: Session) -> list[str]:
    """What is going to be trained, on what, for how long."""
    run, state, layout = session.run, session.state, session.layout
    epochs = state.max_steps * layout.global_batch_size / state.num_rows
    cut = f"{layout.num_micro_batches} x {layout.per_device_batch_size} on {layout.world_size} process(es)"
    beside = session.scored or session.monitor
    validation = "" if beside is None else f", watched on {len(beside.good)} others"
    rows_are = "rows" if run.method.needs_labels else run.data.rows_are
    return [
        f"preset      {run.recipe}/{run.preset}",
        f"data        {run.data.dataset}, {state.num_rows} {rows_are} of the split {run.data.split}{validation}",
        f"model       {_trained_share(session.objective)}",
        f"steps       {state.max_steps} of {layout.global_batch_size} ({cut}), peak learning rate {peak_learning_rate(run):.2e}",
        f"samples     {state.max_steps * layout.global_batch_size:,} in all, {epochs:.1f} epochs",
    ]


def print_opening(session: Session, rehearsal: Rehearsal, started: Start) -> None:
    """The first lines of a run, with an estimate from its one trial micro-batch."""
    run, state, layout = session.run, session.state, session.layout
    seconds = rehearsal.seconds * layout.num_micro_batches * (state.max_steps - state.step)
    memory = estimated_bytes(session.objective, rehearsal.saved_bytes, NUM_MOMENTS[run.optim.optimizer])
    power = power_of(session.accelerator.device, layout.world_size)
    lines = opening_lines(session)
    lines.append(
        f"estimate    {duration(seconds)} of training and {size(memory)} a process, from one trial micro-batch"
    )
    lines += estimate_lines(power, seconds, run.loop.price_per_hour)
    lines += [f"run folder  {session.run_dir.path}", *started.passed_over]
    if state.step > 0:
        lines.append(f"going on from step {state.step}")
    if session.objective.batch_coupled and layout.num_micro_batches > 1:
        lines.append("this loss compares the samples of a batch: accumulation makes the compared batches smaller")
    print("\n".join([*lines, ""]), flush=True)
