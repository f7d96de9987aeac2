"""What a run says of itself: rows of metrics.jsonl and the lines on the screen."""

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hfssl.run_dir import JsonView
from hfssl.training.step import StepResult

_HELD_OUT = {"loss": ("loss", 4), "std": ("feature std", 3), "rank_me": ("RankMe", 1), "knn": ("kNN", 3)}
_REFINED_BETWEEN = (5, 30)


class Interval:
    """Sums since the last logged row, on the device; the same on every rank, since each step's figures are."""

    def __init__(self, sums: dict[str, float]) -> None:
        self._sums: dict[str, Tensor | float] = dict(sums)

    def add(self, result: StepResult) -> None:
        """Add one step; a skipped one adds nothing."""
        figures = {
            "loss_sum": result.loss_sum,
            "num_targets": result.num_targets,
            "steps": torch.ones_like(result.loss_sum),
        }
        figures |= {"gradient_norm": result.gradient_norm} | {
            f"metric/{name}": value for name, value in result.metrics.items()
        }
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + torch.where(result.applied, value, 0.0)

    def sums(self) -> dict[str, float]:
        """Plain numbers, for train_state.json. Waits for the device."""
        return {name: float(value) for name, value in self._sums.items()}

    def means_and_reset(self) -> dict[str, float | None]:
        """The interval's loss, gradient norm and metrics; None where no step was applied. Waits for the device."""
        sums = self.sums()
        self._sums = {}
        steps = sums.pop("steps", 0.0)
        targets, loss_sum = sums.pop("num_targets", 0.0), sums.pop("loss_sum", 0.0)
        means = {name.removeprefix("metric/"): value / steps if steps else None for name, value in sums.items()}
        return {"loss": loss_sum / targets if targets else None} | means


@dataclass
class Stopwatch:
    """Where the wall time goes since the last logged row."""

    row_name: str
    start: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    steps: int = 0
    total_steps: int = 0
    refined_from: float | None = None

    def waiting_since(self, moment: float) -> None:
        """The time from `moment` until now was spent waiting for data."""
        self.waited += time.perf_counter() - moment

    def step_done(self) -> None:
        self.steps += 1
        self.total_steps += 1

    def leave_out(self, seconds: float) -> None:
        """The last `seconds` were spent on something else than training."""
        self.start += seconds
        if self.refined_from is not None:
            self.refined_from += seconds

    def figures_and_reset(self, global_batch_size: int) -> dict[str, float]:
        """`time/...` keys of a row."""
        now = time.perf_counter()
        seconds = max(now - self.start, 1e-9)
        figures = {
            "time/seconds": seconds,
            "time/samples_per_second": self.steps * global_batch_size / seconds,
            "time/data_wait": self.waited / seconds,
        }
        if torch.cuda.is_available():
            figures["time/peak_memory_bytes"] = float(torch.cuda.max_memory_allocated())
        self.start, self.waited, self.steps = now, 0.0, 0
        return figures

    def seconds_a_step(self) -> float | None:
        """After the run's own steps 5 to 30, once; None at any other step."""
        if self.total_steps == _REFINED_BETWEEN[0]:
            self.refined_from = time.perf_counter()
        if self.total_steps != _REFINED_BETWEEN[1] or self.refined_from is None:
            return None
        return (time.perf_counter() - self.refined_from) / (_REFINED_BETWEEN[1] - _REFINED_BETWEEN[0])

    def line(self, row: dict[str, float | None], max_steps: int) -> str:
        """The row in a line for people."""
        step, loss = int(row["step"] or 0), row["loss"]
        a_step = (row["time/seconds"] or 0.0) / max(1, row["time/steps"] or 1)
        shown = "skipped" if loss is None else f"{loss:.4f}"
        return (
            f"step {step:>{len(str(max_steps))}}/{max_steps}  loss {shown}  lr {row['learning_rate']:.2e}  "
            f"{row['time/samples_per_second']:.0f} {self.row_name}/s  data wait {row['time/data_wait']:.1%}  "
            f"left {duration(a_step * (max_steps - step))}"
        )


def validation_line(step: int, max_steps: int, figures: JsonView) -> str:
    """What the monitor saw, in a line for people."""
    shown = []
    for name, value in figures.items():
        key = name.removeprefix("validation/")
        title, digits = _HELD_OUT.get(key, (key.replace("_", " "), 3))
        shown.append(f"{title} {'-' if value is None else f'{value:.{digits}f}'}")
    return f"step {step:>{len(str(max_steps))}}/{max_steps}  validation: {'  '.join(shown)}"


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def size(num_bytes: float) -> str:
    """Bytes as MB or GB."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
