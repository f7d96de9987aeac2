"""How long, how large, at what cost: what is said before a run, and what is settled by trying it on a throwaway copy."""

import gc
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from hfssl.config.run_config import RunConfig
from hfssl.console import quieten_libraries
from hfssl.distributed import broadcast_object, is_main_process
from hfssl.errors import BatchSizeError, ConfigError, SharedError, require
from hfssl.objective import Objective
from hfssl.run_dir import RunDir
from hfssl.runs.context import Blueprint, RunContext
from hfssl.runs.open_session import open_session
from hfssl.training.accelerator import start
from hfssl.training.energy import estimate_lines, power_of
from hfssl.training.labelled_validation import LabelledValidation
from hfssl.training.loop import Session
from hfssl.training.measure import Measured, measure
from hfssl.training.monitor import Monitor
from hfssl.training.optimizer import NUM_MOMENTS, peak_learning_rate
from hfssl.training.rehearsal import Rehearsal, estimated_bytes
from hfssl.training.report import duration, size
from hfssl.training.start import Start

_MEMORY_SHARE = 0.92  # of a GPU that a search for the batch size may fill: fragmentation and NCCL need the rest
_LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_ENDLESS = 10**9


def settled(context: RunContext, started: Start) -> RunContext:
    """`context` with numbers in place of `--per_device_batch_size auto` and `--budget_hours`. Called by all ranks."""
    context = _with_batch_size(context)
    run = context.run
    if run.loop.budget_hours is None or run.loop.max_steps is not None:
        return context
    max_steps = broadcast_object(_stored_length(run, started.run_dir) if is_main_process() else None)
    if max_steps is None:
        if is_main_process():
            print(f"measuring a few steps, to fill {run.loop.budget_hours:g} hours", flush=True)
        measured, _ = measured_copy(context)
        max_steps = measured.steps_within(run.loop.budget_hours * 3600, run.loop.evaluate_every)
    return context.with_loop(max_steps=max_steps)


def _stored_length(run: RunConfig, run_dir: RunDir) -> int | None:
    """The steps that the same budget was turned into when this run began."""
    if not run_dir.is_run():
        return None
    stored = run_dir.read_config()["loop"]
    return stored["max_steps"] if stored.get("budget_hours") == run.loop.budget_hours else None


def measured_copy(context: RunContext, num_steps: int | None = None) -> tuple[Measured, Session]:
    """Real steps on a copy of the run that leaves nothing behind; the session is for reading sizes, its weights are spoiled."""
    if context.run.loop.max_steps is None and context.run.loop.num_epochs is None:
        context = context.with_loop(max_steps=_ENDLESS)
    with tempfile.TemporaryDirectory(prefix="hfssl-") as scratch:
        nowhere = Start(RunDir(Path(scratch)), None, [])
        session, _ = open_session(context, nowhere, verbose=False)
        measured = measure(session) if num_steps is None else measure(session, num_steps)
    context.accelerator.free_memory()
    return measured, session


def _with_batch_size(context: RunContext) -> RunContext:
    run, accelerator = context.run, context.accelerator
    if run.loop.per_device_batch_size != "auto":
        return context
    total, world = run.loop.global_batch_size, accelerator.num_processes
    require(total % world == 0, f"global_batch_size {total} must be a multiple of the {world} processes")
    share = total // world
    if run.method.default_micro_batch is not None:
        return context.with_loop(per_device_batch_size=run.method.default_micro_batch)
    if accelerator.device.type == "cpu":
        return context.with_loop(per_device_batch_size=share)
    found: int | str = 0
    if is_main_process():
        print("searching for the largest batch that fits ...", flush=True)
        found = _searched_in_a_child(context.blueprint, divisors(share))
    found = broadcast_object(found)
    if isinstance(found, str):
        raise SharedError(f"--per_device_batch_size auto: {found}")
    return context.with_loop(per_device_batch_size=found)


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


def _searched_in_a_child(blueprint: Blueprint, sizes: Sequence[int]) -> int | str:
    """The size, or why there is none. A process of its own, so that nothing of the search stays on the device."""
    spawning = multiprocessing.get_context("spawn")
    receiver, sender = spawning.Pipe(duplex=False)
    child = spawning.Process(target=_search, args=(blueprint, sizes, sender))
    child.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        child.join()
        return f"the search ended with exit code {child.exitcode}; set a number"


def _search(blueprint: Blueprint, sizes: Sequence[int], sender: "Connection[int | str, object]") -> None:
    for name in _LAUNCHER_VARIABLES:
        os.environ.pop(name, None)
    quieten_libraries()
    accelerator = start(blueprint.run.loop)
    if accelerator.device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(_MEMORY_SHARE)
    try:
        found = largest_that_fits(sizes, partial(fits, blueprint.on(accelerator)))
    except ConfigError as error:
        sender.send(str(error))
    else:
        sender.send(
            "not even one sample fits: set --gradient_checkpointing, or a smaller model" if found is None else found
        )


def fits(context: RunContext, per_device_batch_size: int) -> bool:
    """Whether whole steps of one micro-batch of this size fit into the device's memory."""
    size = per_device_batch_size
    try:
        measured_copy(context.with_loop(per_device_batch_size=size, global_batch_size=size), num_steps=2)
    except torch.OutOfMemoryError:
        return False
    except ConfigError as error:
        if _is_from_size(error):
            return False
        raise
    finally:
        context.accelerator.free_memory()
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


def _counted(validation: LabelledValidation | Monitor) -> str:
    """How many rows are looked at; a multiple of 8, which up to 8 ranks share equally."""
    total = len(validation.examples if isinstance(validation, LabelledValidation) else validation.rows.examples)
    return f"{len(validation.good)} of {total}" if len(validation.good) < total else f"{total}"


def opening_lines(session: Session) -> list[str]:
    """What is going to be trained, on what, for how long."""
    run, state, layout = session.run, session.state, session.layout
    epochs = state.max_steps * layout.global_batch_size / state.num_rows
    cut = f"{layout.num_micro_batches} x {layout.per_device_batch_size} on {layout.world_size} process(es)"
    validation_rows = session.scored or session.monitor
    validation = "" if validation_rows is None else f", validated on {_counted(validation_rows)} others"
    return [
        f"preset      {run.recipe}/{run.preset}",
        f"data        {run.data.dataset}, {state.num_rows} {run.rows_are} of the split {run.data.split}{validation}",
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
