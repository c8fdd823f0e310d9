"""The rule by which a series of samples grows.

The samples after the warm-up are divided into three parts of the same number; the level of a part is its median, so
single peaks and the teeth of a saw that are shorter than a part do not count. A series grows if both are true:

1. The level of the last part is more than `allowed` above the level of the first part.
2. It still rises: by the slope within the last part, it rises there by at least STILL of the difference of 1. A single
   step, and growth that has levelled off, do not. (A leak at a constant rate rises there by half of the difference.)

Slopes are the median of the slopes between all pairs of samples (Theil-Sen).
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

STILL = 0.2
FEWEST = 9
"""Fewer samples decide nothing."""
_MOST_POINTS = 200


def warm_up_s(seconds: float) -> float:
    """The seconds at the begin of a run whose samples do not count: caches fill, pools open connections, allocators
    take memory.
    """
    return min(max(15.0, seconds / 10), seconds / 2)


@dataclass(frozen=True)
class Trend:
    """The levels of the three parts, the slope per hour, and whether the series grows."""

    first: float
    middle: float
    last: float
    per_hour: float
    grows: bool


def trend(seconds: Sequence[float], values: Sequence[float], allowed: float) -> Trend:
    """The trend of values at these times. Raises: ValueError (there are too few)"""
    if len(values) < FEWEST:
        raise ValueError(f"{len(values)} samples are too few to decide")
    third = len(values) // 3
    parts = (values[:third], values[third : len(values) - third], values[len(values) - third :])
    first, middle, last = (statistics.median(part) for part in parts)
    times = seconds[len(values) - third :]
    rise = (times[-1] - times[0]) * theil_sen(times, parts[2])
    grows = last - first > allowed and rise >= STILL * (last - first)
    return Trend(first, middle, last, 3600 * theil_sen(seconds, values), grows)


def theil_sen(seconds: Sequence[float], values: Sequence[float]) -> float:
    """The median of the slopes between all pairs of samples, or of a part of them if there are many."""
    step = -(-len(values) // _MOST_POINTS)
    points = list(zip(seconds, values, strict=True))[::step]
    slopes = [
        (value - earlier_value) / (at - earlier)
        for index, (at, value) in enumerate(points)
        for earlier, earlier_value in points[:index]
    ]
    return statistics.median(slopes)
