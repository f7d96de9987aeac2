"""Schedules: pure functions of progress = step / max_steps in [0, 1], so that there is nothing to checkpoint."""

import math


def constant(progress: float, value: float) -> float:
    """`value`, whatever the progress."""
    return value


def linear(progress: float, start: float, end: float) -> float:
    """A straight line from `start` at 0 to `end` at 1."""
    return start + (end - start) * min(max(progress, 0.0), 1.0)


def cosine(progress: float, start: float, end: float) -> float:
    """Half a cosine from `start` at 0 to `end` at 1 (Loshchilov & Hutter 2017, equation 5, without restarts)."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))


def warmup_cosine(progress: float, warmup_fraction: float) -> float:
    """A factor that rises linearly from 0 to 1 over `warmup_fraction`, then falls to 0 along half a cosine."""
    if progress < warmup_fraction:
        return progress / warmup_fraction
    return cosine((progress - warmup_fraction) / (1.0 - warmup_fraction), 1.0, 0.0)
