"""Samples of one process over time and the straight line through them. Pure; knows no process."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import linear_regression, mean

TEN_MINUTES = 600.0


@dataclass(frozen=True)
class Sample:
    """One look at a process: seconds since the start, bytes of its own and its share of what is shared, open
    descriptors."""

    at: float
    bytes: float
    descriptors: float


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Growth per ten minutes as a share of the mean: 0.01 is one per cent. Fewer than three looks have no
    slope: 0."""
    if len(times) < 3 or not mean(values):
        return 0.0
    return linear_regression(times, values).slope * TEN_MINUTES / mean(values)


def after(samples: Sequence[Sample], warm_up: float) -> list[Sample]:
    """Those at or after `warm_up` seconds."""
    return [one for one in samples if one.at >= warm_up]


def risen(samples: Sequence[float]) -> float:
    """By how much the least of the last third exceeds the least of the first third: what comes and goes is no
    leak, a floor that rises is."""
    third = len(samples) // 3
    return min(samples[-third:]) - min(samples[:third]) if third else 0.0
