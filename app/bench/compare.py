"""Two results side by side: ratios with their spread, what was changed, and why two results may not be
comparable at all.

Pure functions. A ratio's spread is what the repeats allow: from the least of the second by the greatest of
the first to the greatest by the least. Where it does not hold 1, the difference is larger than what repeating
gives.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.bench.figures import Run
from app.bench.results import LevelResult, Result

Figure = Callable[[Run], float | None]

# Name, how it is read, whether more is better.
FIGURES: tuple[tuple[str, Figure, bool], ...] = (
    ("throughput /s", lambda run: run.throughput, True),
    ("p50 ms", lambda run: run.latency_ms.p50 if run.latency_ms else None, False),
    ("p95 ms", lambda run: run.latency_ms.p95 if run.latency_ms else None, False),
    ("p99 ms", lambda run: run.latency_ms.p99 if run.latency_ms else None, False),
    ("first piece p50 ms", lambda run: run.first_ms.p50 if run.first_ms else None, False),
    ("pieces /s", lambda run: run.pieces_per_second, True),
    ("CPU ms of one", lambda run: run.cpu_total_ms, False),
)


@dataclass(frozen=True)
class Ratio:
    """The second's median by the first's, between `low` and `high`; without spread when either has one run
    only."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def beyond_spread(self) -> bool:
        """Whether repeating alone does not explain it."""
        return self.low is not None and self.high is not None and (self.low > 1 or self.high < 1)


@dataclass(frozen=True)
class Line:
    """One figure of one level."""

    level: str
    figure: str
    first: float
    second: float
    ratio: Ratio
    more_is_better: bool

    @property
    def conclusion(self) -> str:
        """`better`, `worse`, `within the spread` or, with single runs, `spread unknown`."""
        if self.ratio.low is None:
            return "spread unknown"
        if not self.ratio.beyond_spread:
            return "within the spread"
        return "better" if (self.ratio.value > 1) == self.more_is_better else "worse"


@dataclass(frozen=True)
class Comparison:
    """`reasons`: why the ratios mean nothing; empty when they do. `changed`: what was changed on purpose;
    `notes`: beware."""

    reasons: list[str]
    changed: list[str]
    notes: list[str]
    lines: list[Line]


def compare(first: Result, second: Result) -> Comparison:
    """The second by the first."""
    pairs = [(a, b) for a in first.levels for b in second.levels if a.key == b.key]
    reasons = [*_reasons(first, second), *([] if pairs else ["they have no level in common"])]
    lines = [line for a, b in pairs for line in _lines(a, b)]
    return Comparison(reasons, _changed(first, second), _notes(first, second, pairs), lines)


def ratio(first: Sequence[float], second: Sequence[float]) -> Ratio | None:
    """Of medians; None where a value is missing or the first is nothing. Values are not negative."""
    if not first or not second or not statistics.median(first):
        return None
    value = statistics.median(second) / statistics.median(first)
    if len(first) < 2 or len(second) < 2 or not min(first):
        return Ratio(value)
    return Ratio(value, min(second) / max(first), max(second) / min(first))


def _lines(a: LevelResult, b: LevelResult) -> list[Line]:
    lines = []
    for name, figure, more in FIGURES:
        ours = [value for value in map(figure, a.runs) if value is not None]
        theirs = [value for value in map(figure, b.runs) if value is not None]
        change = ratio(ours, theirs)
        if change is not None:
            lines.append(Line(a.name, name, statistics.median(ours), statistics.median(theirs), change, more))
    return lines


def _reasons(first: Result, second: Result) -> list[str]:
    a, b = first.experiment, second.experiment
    fields: list[tuple[str, Any, Any]] = [
        ("model", a.model.partition(":")[0], b.model.partition(":")[0]),
        ("mode", a.mode, b.mode),
        ("stream", a.stream, b.stream),
        ("cores", first.where.cores, second.where.cores),
        ("processor", first.where.processor, second.where.processor),
        ("devices", sorted(first.where.devices), sorted(second.where.devices)),
        ("platform on the machine that sends the load", first.where.local, second.where.local),
    ]
    reasons = [f"{name}: {_shown(left)} and {_shown(right)}" for name, left, right in fields if left != right]
    return reasons + (["inputs: they were not the same"] if first.inputs != second.inputs else [])


def _changed(first: Result, second: Result) -> list[str]:
    names = sorted({*first.config, *second.config})
    config = [
        (f"config.{name}", first.config.get(name, "auto"), second.config.get(name, "auto")) for name in names
    ]
    other = [
        ("platform", first.where.platform_version, second.where.platform_version),
        ("python", first.where.python, second.where.python),
        ("workers", first.where.devices, second.where.devices),
    ]
    return [
        f"{name}: {_shown(left)} → {_shown(right)}"
        for name, left, right in [*config, *other]
        if left != right
    ]


def _notes(first: Result, second: Result, pairs: list[tuple[LevelResult, LevelResult]]) -> list[str]:
    both = (("first", first), ("second", second))
    notes = [f"the {which} result was interrupted" for which, result in both if not result.complete]
    notes += [f"{which}: {result.where.busy}" for which, result in both if result.where.busy]
    for name in ("count", "seconds", "warm_up", "timeout"):
        left, right = getattr(first.experiment, name), getattr(second.experiment, name)
        if left != right:
            notes.append(f"{name}: {_shown(left)} and {_shown(right)}")
    keys = {a.key for a, _ in pairs}
    alone = [level.name for result in (first, second) for level in result.levels if level.key not in keys]
    notes += [f"only one of them has: {', '.join(dict.fromkeys(alone))}"] if alone else []
    for a, b in pairs:
        for which, level in (("first", a), ("second", b)):
            if level.median.failed:
                notes.append(
                    f"{level.name}: {level.median.failed} errors in the {which}, which its times leave out"
                )
    return notes


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{name} {part}" for name, part in value.items())
    elif isinstance(value, list):
        value = ", ".join(map(str, value))
    return "none" if value in (None, "") else str(value)
