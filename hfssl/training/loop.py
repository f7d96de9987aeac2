"""The loop: one for every method and task. It knows the protocol and no method.

`step` counts global batches consumed, applied or skipped; data, progress and checkpoints follow it.
"""

import faulthandler
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import torch
from accelerate import Accelerator
from torch import Tensor

from hfssl.config.run_config import RunConfig
from hfssl.console import say, step_bar
from hfssl.data.loader import BatchLayout, KeyedDataset, micro_batches
from hfssl.distributed import all_gather_objects, is_distributed, is_main_process
from hfssl.errors import TrainingError
from hfssl.objective import BadRowError, Batch, Objective
from hfssl.run_dir import Json, RunDir
from hfssl.training.bad_rows import joined_bad_rows, note_bad_rows
from hfssl.training.checkpoint import TrainState, load, newest_whole, save
from hfssl.training.collapse_monitor import CollapseMonitor
from hfssl.training.interruption import StopRequest
from hfssl.training.labelled_validation import LabelledValidation
from hfssl.training.monitor import Monitor
from hfssl.training.optimizer import build_optimizer, peak_learning_rate, set_learning_rate, set_weight_decay
from hfssl.training.report import Interval, Stopwatch, duration, validation_line
from hfssl.training.step import StepContext, StepResult, train_step
from hfssl.training.tracking import track


@dataclass
class Session:
    """One process's share of a run in progress; provenance: of its data, see `data.provenance`, on the main process."""

    run: RunConfig
    run_dir: RunDir
    accelerator: Accelerator
    objective: Objective
    rows: KeyedDataset
    layout: BatchLayout
    num_workers: int
    state: TrainState
    monitor: Monitor | None = None
    scored: LabelledValidation | None = None
    provenance: Json = field(default_factory=dict)
    collapse_monitor: CollapseMonitor = field(init=False)

    def __post_init__(self) -> None:
        self.collapse_monitor = CollapseMonitor(self.objective, self.state, is_on=not self.run.method.needs_labels)

    @property
    def max_steps(self) -> int:
        return self.state.max_steps


def prepare(session: Session) -> StepContext:
    """Optimizer, Accelerate's wrapping, and, where the state says so, the checkpoint's tensors."""
    loop, optim = session.run.loop, session.run.optim
    if loop.compile:
        session.objective.compile()
    optimizer = build_optimizer(session.objective, optim)
    model, _ = session.accelerator.prepare(session.objective, optimizer)
    if session.state.step > 0:
        load(session.accelerator, session.run_dir, session.state.step)
    return StepContext(
        accelerator=session.accelerator,
        model=model,
        objective=session.objective,
        optimizer=optimizer,
        augment=session.rows.pipeline.augment,
        seed=loop.seed,
        max_grad_norm=optim.max_grad_norm,
        loss_scale=session.state.loss_scale,
    )


def train(session: Session) -> int | None:
    """Train from `session.state.step` to the end; the last step is always saved.

    Returns:
        None when the run is complete, else the number of the signal that stopped it (its state is saved).

    Raises:
        TrainingError: too many bad rows or non-finite steps in a row, an unwritable checkpoint, or --stop_on_collapse.
    """
    parts = prepare(session)
    run, state = session.run, session.state
    peak = peak_learning_rate(run)
    interval, watch = Interval(state.interval), Stopwatch(session.run.data.row_name)
    verdict = _LateVerdict(session)
    session.objective.train()
    if state.step == 0:
        session.collapse_monitor.begin()
        _validate(session, watch)
    bar = step_bar(state.step, session.max_steps, is_main_process())
    with StopRequest() as request, _stacks_of_hanging_ranks(), bar, ExitStack() as resources:
        batches = resources.enter_context(closing(steps_of_batches(session, watch)))
        for step in range(state.step, session.max_steps):
            if session.scored is not None and session.scored.choice.is_over(state):
                return None
            progress = step / session.max_steps
            rate = set_learning_rate(parts.optimizer, peak, run.optim.warmup_fraction, progress)
            set_weight_decay(parts.optimizer, run.optim, progress)
            asked = request.asked()
            result = train_step(parts, next(batches), step=step, progress=progress, stop=asked)
            interval.add(result)
            state.step, state.samples_seen = step + 1, (step + 1) * run.loop.global_batch_size
            watch.step_done()
            bar.update()
            measured = watch.seconds_a_step()
            if measured is not None and is_main_process():
                seconds = measured * (session.max_steps - state.step)
                say(f"measured {measured * 1000:.0f} ms a step: about {duration(seconds)} to go")
            stop = verdict.read_previous_and_keep(step, result)
            finished = state.step == session.max_steps
            if finished or state.step % run.loop.log_every == 0:
                stop = verdict.read() or stop
                _log(session, interval, watch, rate)
            is_best = over = False
            if finished or state.step % run.loop.evaluate_every == 0:
                is_best = _validate(session, watch)
                over = session.scored is not None and session.scored.choice.is_over(state)
            collapsed = run.loop.stop_on_collapse and bool(session.collapse_monitor.alarms)
            if stop or finished or over or collapsed or is_best or state.step % run.loop.save_every == 0:
                stop = verdict.read() or stop
                state.interval = interval.sums()
                state.bad_rows = joined_bad_rows(session.state)
                save(session.accelerator, session.run_dir, state, keep=run.loop.keep_checkpoints)
            if collapsed:
                raise TrainingError(session.collapse_monitor.why_stopped())
            if stop and not finished:
                return next(number for number in all_gather_objects(request.signal) if number is not None)
    return None


@contextmanager
def _stacks_of_hanging_ranks() -> Iterator[None]:
    """Inside, `_log` arms a timer that prints where a rank hangs; at the end it is disarmed."""
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def steps_of_batches(session: Session, watch: Stopwatch) -> Generator[list[Batch], None, None]:
    """This rank's micro-batches on the device, a list for each step; notes bad rows and waiting.

    To be closed: data workers ignore signals, so that a process that ends with an error would wait for them for ever.
    """
    device = session.accelerator.device
    stream = micro_batches(
        session.rows,
        session.layout,
        start_step=session.state.step,
        max_steps=session.max_steps,
        num_workers=session.num_workers,
        pin_memory=device.type == "cuda",
    )
    while True:
        start = time.perf_counter()
        batches = []
        for _ in range(session.layout.num_micro_batches):
            batch = _next_batch(stream)
            note_bad_rows(session.state, session.rows.examples, batch.pop("bad_ids"))
            batches.append({name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()})
        watch.waiting_since(start)
        yield batches


def _next_batch(stream: Iterator[Batch]) -> Batch:
    try:
        return next(stream)
    except BadRowError as error:
        raise TrainingError(f"the data cannot be used: {error}") from error


def _log(session: Session, interval: Interval, watch: Stopwatch, rate: float) -> None:
    state = session.state
    state.bad_rows = joined_bad_rows(session.state)
    row: Json = {"step": state.step, "epoch": state.samples_seen / state.num_rows, "learning_rate": rate}
    row |= interval.means_and_reset()
    row |= {"skipped_steps": state.skipped_steps, "bad_rows": len(state.bad_rows)}
    row |= session.collapse_monitor.after_interval(row)
    steps = watch.steps
    row |= watch.figures_and_reset(session.run.loop.global_batch_size) | {"time/steps": steps}
    if is_distributed():
        faulthandler.dump_traceback_later(session.run.loop.process_group_timeout, exit=False)
    track(session.accelerator, row)
    if is_main_process():
        session.run_dir.append_metrics(row)
        say(watch.line(row, session.max_steps))


def _validate(session: Session, watch: Stopwatch) -> bool:
    """Validate where there are validation rows: a row of metrics.jsonl. Returns whether the step is the best so far."""
    validation = session.scored or session.monitor
    if validation is None:
        return False
    start = time.perf_counter()
    progress = session.state.step / session.max_steps
    figures = validation.validate(session.accelerator, session.objective, session.layout, progress)
    if figures is None:
        if is_main_process():
            say("validation skipped: a row can no longer be read")
        return False
    row = {"step": session.state.step} | figures
    row |= session.collapse_monitor.after_validate(row)
    track(session.accelerator, row)
    if is_main_process():
        session.run_dir.append_metrics(row)
        say(validation_line(session.state.step, session.max_steps, figures))
    watch.leave_out(time.perf_counter() - start)
    is_trained = session.state.step > 0
    return is_trained and session.scored is not None and session.scored.choice.is_best(session.state, figures)


class _Pending(NamedTuple):
    step: int
    flags: Tensor
    copied: Any
    result: StepResult


class _LateVerdict:
    """Reads a step's flags one step late, so that the host never waits for the step that it has just queued."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pending: _Pending | None = None
        self._guilty: deque[tuple[int, list[int]]] = deque(maxlen=session.run.loop.max_skipped_steps)

    def read_previous_and_keep(self, step: int, result: StepResult) -> bool:
        """True if the step before was told to stop. Raises TrainingError after too many skips in a row."""
        stop = self.read()
        flags = torch.stack([result.non_finite, result.stop]).to("cpu", non_blocking=True)
        copied = torch.cuda.Event() if result.stop.is_cuda else None
        if copied is not None:
            copied.record()
        self._pending = _Pending(step, flags, copied, result)
        return stop

    def read(self) -> bool:
        """The same for the last step that was kept; waits for it."""
        if self._pending is None:
            return False
        step, flags, copied, result = self._pending
        self._pending = None
        if copied is not None:
            copied.synchronize()
        non_finite, stop = flags.tolist()
        state = self._session.state
        if not non_finite:
            state.skipped_in_a_row = 0
            return bool(stop)
        state.skipped_steps += 1
        state.skipped_in_a_row += 1
        guilty = [index for index, finite in enumerate(result.finite_micro_batches) if not bool(finite)]
        self._guilty.append((step, guilty))
        if state.skipped_in_a_row >= self._session.run.loop.max_skipped_steps:
            self._give_up()
        return bool(stop)

    def _give_up(self) -> NoReturn:
        session = self._session
        names = sorted(set().union(*all_gather_objects(self._guilty_ids())))
        whole, _ = newest_whole(session.run_dir)
        kept = "no checkpoint was saved before" if whole is None else f"the checkpoint of step {whole} is kept"
        raise TrainingError(
            f"{session.state.skipped_in_a_row} steps in a row had a non-finite loss or gradient; {kept}; samples of the "
            f"batches with a non-finite loss: {names[:50]}; lower the learning rate, set --max_grad_norm, or look at them"
        )

    def _guilty_ids(self) -> list[int]:
        """Sample ids of this rank's micro-batches whose loss was not finite, over the last skipped steps."""
        session = self._session
        ids: list[int] = []
        for step, guilty in self._guilty:
            for micro_batch in guilty:
                ids += session.rows.order.at(session.layout.positions(step, micro_batch))[1].tolist()
        return ids
