"""Minutes of statistics: buckets of durations, and how minutes become the points of a chart; what is counted
beside them: days of usage, failures in groups, lanes of the queue. Pure.

A bucket is a half power of two above a millisecond, so that minutes of any users and models can be added and
still have their quantiles, right to within a fifth.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

SHORTEST = 0.001  # seconds; the upper bound of bucket 0
PER_DOUBLING = 2
HIGHEST = 50  # 9 hours


@dataclass(slots=True)
class Counts:
    """What ended in a time: `seconds` maps buckets to how many succeeded within them."""

    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    device_seconds: float = 0.0
    seconds: dict[int, int] = field(default_factory=dict)

    def add(self, other: "Counts") -> None:
        """Takes what the other counts, too."""
        self.succeeded += other.succeeded
        self.failed += other.failed
        self.canceled += other.canceled
        self.device_seconds += other.device_seconds
        for bucket, count in other.seconds.items():
            self.seconds[bucket] = self.seconds.get(bucket, 0) + count


@dataclass(frozen=True, slots=True)
class Minute:
    """What ended in the minute that began then."""

    at: datetime
    counts: Counts


@dataclass(frozen=True, slots=True)
class QueueMinute:
    """What waited and ran at the end of the minute that began then."""

    at: datetime
    waiting: int
    running: int


@dataclass(frozen=True, slots=True)
class UsageDay:
    """What one user had of one model on one day (UTC). `username` is None for anonymous callers."""

    day: date
    username: str | None
    model: str
    succeeded: int
    failed: int
    canceled: int
    device_seconds: float


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """`error` and `prediction` are of the latest failure. `counts` are of equal parts of the window,
    oldest first."""

    group: str
    model: str
    error_code: str | None
    error: str | None
    prediction: str
    count: int
    first_at: datetime
    last_at: datetime
    counts: list[int]


@dataclass(frozen=True, slots=True)
class Lane:
    """What waits of one queue, model or user; `kind` says of which."""

    kind: str
    name: str
    waiting: int
    oldest_seconds: float


@dataclass(slots=True)
class Point:
    """`step` seconds of a chart from `at` (Unix time) on. `waiting` and `running` are the most of their
    minutes; None where nothing was recorded."""

    at: int
    counts: Counts
    waiting: int | None = None
    running: int | None = None


def upper_bound(bucket: int) -> float:
    """In seconds."""
    return float(SHORTEST * 2 ** (bucket / PER_DOUBLING))


def quantile(seconds: Mapping[int, int], share: float) -> float | None:
    """The duration that this share of the counted ones did not exceed, within its bucket in proportion. None
    of nothing."""
    total = sum(seconds.values())
    if not total:
        return None
    left = share * total
    for bucket, count in sorted(seconds.items()):
        if left <= count:
            high = upper_bound(bucket)
            low = upper_bound(bucket - 1) if bucket else 0.0
            return low + (high - low) * left / count
        left -= count
    return upper_bound(max(seconds))


def points(
    minutes: Iterable[Minute], queue: Iterable[QueueMinute], since: int, until: int, step: int
) -> list[Point]:
    """A point for each whole step from `since` to `until`, Unix times that `step` divides."""
    by_begin = {at: Point(at, Counts()) for at in range(since, until, step)}
    for minute in minutes:
        if point := by_begin.get(_begin(minute.at, step)):
            point.counts.add(minute.counts)
    for each in queue:
        if point := by_begin.get(_begin(each.at, step)):
            point.waiting = max(point.waiting or 0, each.waiting)
            point.running = max(point.running or 0, each.running)
    return list(by_begin.values())


def _begin(at: datetime, step: int) -> int:
    return int(at.timestamp()) // step * step
