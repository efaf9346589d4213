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


class Latencies(BaseModel):
    """Of many predictions, in milliseconds."""

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
    latency_ms: Latencies | None
    first_ms: Latencies | None = None
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


def latencies(seconds: Sequence[float]) -> Latencies | None:
    """None when there are none."""
    if not seconds:
        return None
    ordered = sorted(each * 1000 for each in seconds)
    shares = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
    percentiles = {name: round(percentile(ordered, share), 3) for name, share in shares.items()}
    return Latencies(mean=round(statistics.fmean(ordered), 3), max=round(ordered[-1], 3), **percentiles)


def summary(raw: Raw, cpu_seconds: Mapping[str, float], bench_seconds: float) -> Run:
    """One run's figures."""
    good = [sample for sample in raw.samples if not sample.error]
    errors = Counter(sample.error for sample in raw.samples if sample.error)
    each = 1000 / len(good) if good else 0.0
    pieces = sum(sample.pieces for sample in good)
    return Run(
        seconds=round(raw.seconds, 4),
        succeeded=len(good),
        errors=dict(errors.most_common()),
        throughput=round(len(good) / raw.seconds, 3) if raw.seconds else 0.0,
        latency_ms=latencies([sample.seconds for sample in good]),
        first_ms=latencies([sample.first for sample in good if sample.first is not None]),
        pieces_per_second=round(pieces / raw.seconds, 2) if pieces else None,
        cpu_ms={name: round(seconds * each, 4) for name, seconds in cpu_seconds.items()} if good else {},
        bench_cpu_ms=round(bench_seconds * each, 4) if good else None,
        batch_size=_mean(good, "batch_size"),
        padding=_mean(good, "padding"),
    )


def _mean(samples: Sequence[Sample], name: str) -> float | None:
    values = [value for sample in samples if (value := getattr(sample, name)) is not None]
    return round(statistics.fmean(values), 4) if values else None


def median(runs: Sequence[Run]) -> Run:
    """Of every figure by itself; `runs` is not empty."""
    parts = sorted({part for run in runs for part in run.cpu_ms})
    return Run(
        seconds=statistics.median(run.seconds for run in runs),
        succeeded=sum(run.succeeded for run in runs),
        errors=dict(sum((Counter(run.errors) for run in runs), Counter[str]()).most_common()),
        throughput=statistics.median(run.throughput for run in runs),
        latency_ms=_median_latencies([run.latency_ms for run in runs]),
        first_ms=_median_latencies([run.first_ms for run in runs]),
        pieces_per_second=_median([run.pieces_per_second for run in runs]),
        cpu_ms={part: statistics.median(run.cpu_ms.get(part, 0.0) for run in runs) for part in parts},
        bench_cpu_ms=_median([run.bench_cpu_ms for run in runs]),
        batch_size=_median([run.batch_size for run in runs]),
        padding=_median([run.padding for run in runs]),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _median_latencies(values: Sequence[Latencies | None]) -> Latencies | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    medians: dict[str, Any] = {
        name: statistics.median(getattr(each, name) for each in known) for name in Latencies.model_fields
    }
    return Latencies(**medians)
