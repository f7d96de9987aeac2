"""What a step really takes: a few real steps on a session that is thrown away afterwards."""

import resource
import sys
import time
from contextlib import closing
from typing import NamedTuple

import torch

from hfssl.distributed import all_gather_objects
from hfssl.training.loop import Session, prepare, steps_of_batches
from hfssl.training.optimizer import peak_learning_rate, set_learning_rate, set_weight_decay
from hfssl.training.report import Stopwatch
from hfssl.training.step import train_step

NUM_STEPS = 30
_SETTLING_STEPS = 5


class Measured(NamedTuple):
    """Of the slowest and largest rank.

    startup_seconds: what the first steps take beyond the others, compilation and worker start above all.
    validation_seconds: one validation; data_wait: share of a step.
    """

    num_steps: int
    seconds_a_step: float
    startup_seconds: float
    validation_seconds: float
    peak_bytes: int
    data_wait: float

    def training_seconds(self, num_steps: int, evaluate_every: int) -> float:
        """What `num_steps` take, looks included."""
        looks = 1 + (num_steps + evaluate_every - 1) // evaluate_every
        return self.startup_seconds + num_steps * self.seconds_a_step + looks * self.validation_seconds

    def steps_within(self, seconds: float, evaluate_every: int) -> int:
        """The most steps that `training_seconds` fits into `seconds`; at least 1."""
        a_step = self.seconds_a_step + self.validation_seconds / evaluate_every
        return max(1, int((seconds - self.startup_seconds - 2 * self.validation_seconds) / a_step))


def measure(session: Session, num_steps: int = NUM_STEPS) -> Measured:
    """Train `num_steps`, or as many as the run has. Called by all ranks; the session's weights are spoiled by it."""
    device = session.accelerator.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    num_steps = min(num_steps, session.max_steps - session.state.step)
    settling = min(_SETTLING_STEPS, num_steps // 2)
    begun = time.perf_counter()
    parts = prepare(session)
    session.objective.train()
    optim, watch = session.run.optim, Stopwatch(session.run.data.row_name)
    peak = peak_learning_rate(session.run)
    settled = begun
    with closing(steps_of_batches(session, watch)) as batches:
        for step in range(num_steps):
            if step == settling:
                settled, watch.waited = _now(device), 0.0
            progress = step / session.max_steps
            set_learning_rate(parts.optimizer, peak, optim.warmup_fraction, progress)
            set_weight_decay(parts.optimizer, optim, progress)
            train_step(parts, next(batches), step=step, progress=progress, stop=False)
    finished = _now(device)
    a_step = (finished - settled) / (num_steps - settling)
    startup = max(0.0, settled - begun - settling * a_step)
    if (validation := session.scored or session.monitor) is not None:
        validation.validate(session.accelerator, session.objective, session.layout, 0.0)
    looked = _now(device) - finished
    wait = watch.waited / (finished - settled)
    mine = Measured(num_steps, a_step, startup, looked, _peak_bytes(device), wait)
    return Measured(*(max(values) for values in zip(*all_gather_objects(mine), strict=True)))


def _now(device: torch.device) -> float:
    """The time at which everything queued so far is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _peak_bytes(device: torch.device) -> int:
    """The device's, or on a CPU that of this process, libraries included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, kilobytes elsewhere
