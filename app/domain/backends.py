"""A backend: something elsewhere that runs versions, such as a server of models. As the platform keeps it,
what it serves, and how it has done lately. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

# Versions that a backend runs have this runtime; the class of the workers that call backends is another name
# (queue_names.BACKENDS).
RUNTIME = "backend"
HEALTHY, DEGRADED = "healthy", "degraded"
OPEN, UNREACHABLE = "open", "unreachable"
STATES = (HEALTHY, DEGRADED, OPEN, UNREACHABLE)
UNKNOWN = "unknown"  # no gateway worker has said anything of it lately
CONDITION = r"^backlog_seconds > ([0-9]{1,6}(\.[0-9]{1,3})?)$"  # as JSON Schema writes it
DEFAULT_CONCURRENCY = 64
DEFAULT_SILENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that a backend says it serves. `context_length` in tokens and `dimensions` of a vector: 0, not
    known. `inputs` and `outputs` are its own schemas, where the backend has them."""

    name: str
    task: str
    context_length: int = 0
    dimensions: int = 0
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    streams: bool = False

    def as_json(self) -> dict[str, Any]:
        """What is stored and shown; empty values are left out."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in values.items() if value}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "ServedModel":
        """From what was stored."""
        return cls(**{name: stored[name] for name in cls.__slots__ if name in stored})


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBackend:
    """A backend to be added. `credential` is encrypted; `options` are its kind's own. `max_concurrency`: most
    predictions that a gateway worker has there at once. After `silence_seconds` without a byte a call is
    given up."""

    id: UUID
    name: str
    kind: str
    url: str
    credential: bytes | None = field(default=None, repr=False)
    options: dict[str, Any] = field(default_factory=dict)
    max_concurrency: int = DEFAULT_CONCURRENCY
    silence_seconds: float = DEFAULT_SILENCE_SECONDS
    draining: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend(NewBackend):
    """`served` is what it said last that it serves, at `served_at`."""

    served: list[dict[str, Any]] = field(default_factory=list)
    served_at: datetime | None = None
    created_at: datetime
    updated_at: datetime

    def served_model(self, name: str) -> ServedModel | None:
        """What is known of one of its models."""
        return next((ServedModel.from_json(each) for each in self.served if each.get("name") == name), None)


@dataclass(frozen=True, slots=True)
class BackendReport:
    """What one gateway worker says of a backend. Counts are from that worker's start, latencies (seconds) of
    its last calls; `models` are the states of the circuit breakers, by model; `probed_at` is in Unix time."""

    state: str
    reason: str = ""
    in_flight: int = 0
    waiting: int = 0
    requests: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    probes: int = 0
    probes_failed: int = 0
    probed_at: float | None = None
    latency_p50: float | None = None
    latency_p95: float | None = None
    models: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "BackendReport":
        """Fields of another release are left out."""
        return cls(**{name: stored[name] for name in cls.__slots__ if name in stored})


def sum_reports(reports: Sequence[BackendReport]) -> BackendReport:
    """Of all gateway workers together. The state is the best one: who reaches it will run it."""
    if not reports:
        return BackendReport(UNKNOWN, "no gateway worker has said anything of it lately")
    best = min(reports, key=lambda report: STATES.index(report.state) if report.state in STATES else 9)
    counts = ("in_flight", "waiting", "requests", "errors", "input_tokens", "output_tokens", "probes")
    sums = {name: sum(getattr(report, name) for report in reports) for name in (*counts, "probes_failed")}
    busiest = max(reports, key=lambda report: report.requests)
    models = {name: state for report in reports for name, state in report.models.items()}
    return BackendReport(
        best.state,
        best.reason,
        probed_at=max((report.probed_at or 0.0 for report in reports), default=0.0) or None,
        latency_p50=busiest.latency_p50,
        latency_p95=busiest.latency_p95,
        models=models,
        **sums,
    )


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """One of the backends that a version may run on: the name, what the model is called there, and its share
    of the traffic. With `overflow_seconds` it gets only what has waited for longer than that."""

    name: str
    model: str
    weight: float = 1.0
    overflow_seconds: float | None = None

    def why_not(self, backlog_seconds: float) -> str:
        """Why it does not get a prediction that has waited so long; "" when it may."""
        if self.overflow_seconds is None or backlog_seconds > self.overflow_seconds:
            return ""
        return f"only when backlog_seconds > {self.overflow_seconds:g}"


def choices_of(config: Mapping[str, Any]) -> tuple[BackendChoice, ...]:
    """The backends that a version's configuration names, in its order."""
    return tuple(
        BackendChoice(
            str(each["name"]),
            str(each["model"]),
            float(each.get("weight", 1.0)),
            overflow_seconds(str(each.get("only_when") or "")),
        )
        for each in config.get("backends") or ()
    )


def overflow_seconds(condition: str) -> float | None:
    """The seconds of `backlog_seconds > 30`, None of no condition. Raises ValueError for any other."""
    if not condition:
        return None
    if match := re.match(CONDITION, condition):
        return float(match[1])
    raise ValueError("must be like backlog_seconds > 30")
