"""From samples to figures: percentiles, one run's summary, the median of repeats. Pure functions.

A percentile is a nearest rank: the smallest value that at least that share of the values does not exceed. It
is always one of the values, and the 99th of fewer than a hundred is the greatest.
"""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from app.bench.caller import Sample
from app.bench.load import Raw


class Times(BaseModel):
    """Milliseconds."""

    model_config = ConfigDict(extra="forbid")

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


class Run(BaseModel):
    """One run's figures, or the medians of several runs' (then `succeeded` and `errors` are sums).
    `throughput` counts successes a second; `cpu_ms` is CPU milliseconds of each part of the platform for one
    success, empty when unknown; `bench_cpu_ms` is this process's own, which is not the platform's.
    """

    model_config = ConfigDict(extra="forbid")

    seconds: float
    succeeded: int
    errors: dict[str, int]
    throughput: float
    latency_ms: Times | None
    first_ms: Times | None = None
    pieces_per_second: float | None = None
    cpu_ms: dict[str, float]
    bench_cpu_ms: float | None = None
    batch_size: float | None = None
    padding: float | None = None

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    @property
    def cpu_total_ms(self) -> float | None:
        """Of all parts together; None when unknown."""
        return sum(self.cpu_ms.values()) if self.cpu_ms else None


def percentile(ordered: Sequence[float], share: float) -> float:
    """`ordered` is sorted and not empty; `share` is above 0 and at most 1."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def times(seconds: Sequence[float]) -> Times | None:
    """None when there are none."""
    if not seconds:
        return None
    ordered = sorted(one * 1000 for one in seconds)
    shares = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
    found = {name: round(percentile(ordered, share), 3) for name, share in shares.items()}
    return Times(mean=round(statistics.fmean(ordered), 3), max=round(ordered[-1], 3), **found)


def summary(raw: Raw, cpu_seconds: Mapping[str, float], bench_seconds: float) -> Run:
    """One run's figures."""
    good = [one for one in raw.samples if not one.error]
    errors = Counter(one.error for one in raw.samples if one.error)
    each = 1000 / len(good) if good else 0.0
    pieces = sum(one.pieces for one in good)
    return Run(
        seconds=round(raw.seconds, 4),
        succeeded=len(good),
        errors=dict(errors.most_common()),
        throughput=round(len(good) / raw.seconds, 3) if raw.seconds else 0.0,
        latency_ms=times([one.seconds for one in good]),
        first_ms=times([one.first for one in good if one.first is not None]),
        pieces_per_second=round(pieces / raw.seconds, 2) if pieces else None,
        cpu_ms={name: round(seconds * each, 4) for name, seconds in cpu_seconds.items()} if good else {},
        bench_cpu_ms=round(bench_seconds * each, 4) if good else None,
        batch_size=_mean(good, "batch_size"),
        padding=_mean(good, "padding"),
    )


def _mean(samples: Sequence[Sample], name: str) -> float | None:
    values = [getattr(one, name) for one in samples if getattr(one, name) is not None]
    return round(statistics.fmean(values), 4) if values else None


def median(runs: Sequence[Run]) -> Run:
    """Of every figure by itself; `runs` is not empty."""
    parts = sorted({part for run in runs for part in run.cpu_ms})
    return Run(
        seconds=statistics.median(run.seconds for run in runs),
        succeeded=sum(run.succeeded for run in runs),
        errors=dict(sum((Counter(run.errors) for run in runs), Counter[str]()).most_common()),
        throughput=statistics.median(run.throughput for run in runs),
        latency_ms=_median_times([run.latency_ms for run in runs]),
        first_ms=_median_times([run.first_ms for run in runs]),
        pieces_per_second=_median([run.pieces_per_second for run in runs]),
        cpu_ms={part: statistics.median(run.cpu_ms.get(part, 0.0) for run in runs) for part in parts},
        bench_cpu_ms=_median([run.bench_cpu_ms for run in runs]),
        batch_size=_median([run.batch_size for run in runs]),
        padding=_median([run.padding for run in runs]),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _median_times(values: Sequence[Times | None]) -> Times | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    found: dict[str, Any] = {
        name: statistics.median(getattr(one, name) for one in known) for name in Times.model_fields
    }
    return Times(**found)
