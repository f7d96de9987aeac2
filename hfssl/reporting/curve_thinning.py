"""Curves of many points for a page: fewer points, the same picture."""

import math
from collections.abc import Sequence

Point = tuple[int, float]
MOST_POINTS = 300


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` of the finite points, in order: the ends, and the lowest and highest of each stretch, so that spikes stay.

    Args:
        most: at least 4.
    """
    finite = [point for point in points if math.isfinite(point[1])]
    if len(finite) <= most:
        return finite
    inner, num_stretches = finite[1:-1], (most - 2) // 2
    kept = [finite[0]]
    for number in range(num_stretches):
        start, end = (len(inner) * edge // num_stretches for edge in (number, number + 1))
        stretch = range(start, end)
        ends = {min(stretch, key=lambda place: inner[place][1]), max(stretch, key=lambda place: inner[place][1])}
        kept += [inner[place] for place in sorted(ends)]
    return [*kept, finite[-1]]
