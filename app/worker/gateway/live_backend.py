"""One backend as a gateway worker has it: its connection, what is in flight there, its breakers, its health.
Used from the event loop only."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from app.backends.base import BackendKind
from app.backends.breaker import Breaker, BreakerState
from app.backends.call_figures import CallFigures
from app.domain.backend_choice import BackendFacts
from app.domain.backend_retry import Fault, UpstreamFailed
from app.domain.backends import DEGRADED, HEALTHY, OPEN, UNREACHABLE, Backend, BackendChoice, BackendReport
from app.observe import metrics
from app.worker.gateway.breaker_board import BreakerBoard

BUSY_SECONDS = 1.0  # without a Retry-After
LONGEST_BUSY_SECONDS = 300.0
MOST_CREDITS = 10_000  # versions


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call that went well has used."""

    input_tokens: int = 0
    output_tokens: int = 0


class LiveBackend:
    """`row` is as it is registered; a changed address is another object."""

    def __init__(self, row: Backend, server: BackendKind, board: BreakerBoard | None = None) -> None:
        self.row, self.server = row, server
        self.board = board or BreakerBoard()
        self.in_flight = 0
        self.idle = asyncio.Event()  # nothing is in flight
        self.idle.set()
        self._credits: dict[str, float] = {}  # turns that it is owed, by version
        self.figures = CallFigures()
        self.probes = self.probes_failed = 0
        self.probed_at: float | None = None  # Unix time
        self._breakers: dict[str, Breaker] = {}
        self._busy_until = 0.0
        self._unreachable = ""  # why the last probe failed

    @property
    def is_reachable(self) -> bool:
        return not self._unreachable

    def breaker(self, model: str) -> Breaker:
        breaker = self._breakers.get(model)
        if breaker is None:
            breaker = self._breakers[model] = self.board.new_breaker()
        return breaker

    def key(self, model: str) -> tuple[str, str]:
        """Of a model's breaker, on all gateway workers."""
        return str(self.row.id), model

    def follow(self, model: str, rest: float, left: float) -> None:
        """Another gateway worker's breaker of this model has opened, or closed."""
        breaker = self.breaker(model)
        breaker.follow(rest, left, time.monotonic())
        (self.board.tripped.add if breaker.rest else self.board.tripped.discard)(self.key(model))

    def facts(self, choice: BackendChoice, version: str, backlog_seconds: float) -> BackendFacts:
        """As a strategy sees it now, for a prediction that has waited so long; its `state` is left out."""
        return BackendFacts(
            name=choice.name,
            model=choice.model,
            weight=choice.weight,
            unusable=self._why_not(choice.model) or choice.why_not(backlog_seconds),
            free=self.row.max_concurrency - self.in_flight,
            in_flight=self.in_flight,
            credit=self._credits.get(version, 0.0),
            latency=self.figures.latency,
            error_rate=self.figures.error_rate,
        )

    def _why_not(self, model: str) -> str:
        now = time.monotonic()
        if self.row.draining:
            return "it is draining"
        if self._unreachable or self.server.not_ready:
            return f"it is unreachable: {self._unreachable}" if self._unreachable else self.server.not_ready
        if now < self._busy_until:
            return f"it asked to wait, for {self._busy_until - now:.1f} s more"
        breaker = self.breaker(model)
        if breaker.allows(now):
            return ""
        if breaker.state(now) is BreakerState.HALF_OPEN:
            return "its circuit breaker is half-open: one call tries it now"
        return f"its circuit breaker is open for {breaker.opens_in(now):.1f} s more"

    def set_credit(self, version: str, credit: float) -> None:
        """Turns that it is owed of a version."""
        if len(self._credits) >= MOST_CREDITS:
            self._credits.clear()
        self._credits[version] = credit

    def capacity(self, model: str) -> int:
        """How many predictions of a model it takes at once, by its state."""
        now = time.monotonic()
        if self.row.draining or self._unreachable or now < self._busy_until:
            return 0
        by_state = {BreakerState.CLOSED: self.row.max_concurrency, BreakerState.HALF_OPEN: 1}
        return by_state.get(self.breaker(model).state(now), 0)

    @property
    def state(self) -> str:
        now = time.monotonic()
        if self._unreachable:
            return UNREACHABLE
        if any(breaker.state(now) is not BreakerState.CLOSED for breaker in self._breakers.values()):
            return OPEN
        return DEGRADED if self.figures.is_degraded or now < self._busy_until else HEALTHY

    def on_probe(self, failure: str) -> None:
        """What a probe found; "" when it answers."""
        self.probes, self.probed_at = self.probes + 1, time.time()
        self.probes_failed += bool(failure)
        self._unreachable = failure

    def on_ready(self) -> None:
        """It has just been started, and answers."""
        self._unreachable = ""

    def want(self, choice: BackendChoice, backlog_seconds: float, wake: Callable[[], None]) -> None:
        """A prediction may run there: a server that has to be started is, and of a breaker that has rested a
        try is asked for."""
        if self.row.draining or choice.why_not(backlog_seconds):
            return
        if self.server.not_ready:
            self.server.want()
        elif self.key(choice.model) in self.board.tripped:
            self.board.ask_to_try(self.key(choice.model), self.breaker(choice.model), wake)

    def on_busy(self, retry_after: float | None) -> None:
        rest = BUSY_SECONDS if retry_after is None else min(retry_after, LONGEST_BUSY_SECONDS)
        self._busy_until = max(self._busy_until, time.monotonic() + rest)

    def report(self, waiting: int) -> BackendReport:
        """What is written down of it."""
        now, figures = time.monotonic(), self.figures
        metrics.BACKEND_UP.labels(self.row.name).set(self.state in (HEALTHY, DEGRADED))
        return BackendReport(
            state=self.state,
            reason=self._unreachable or self.server.not_ready,
            in_flight=self.in_flight,
            waiting=waiting,
            requests=figures.requests,
            errors=figures.errors,
            input_tokens=figures.input_tokens,
            output_tokens=figures.output_tokens,
            probes=self.probes,
            probes_failed=self.probes_failed,
            probed_at=self.probed_at,
            latency_p50=figures.quantile(0.5),
            latency_p95=figures.quantile(0.95),
            models={model: breaker.state(now).value for model, breaker in self._breakers.items()},
        )


class Lease:
    """One call's place at a backend, freed when the block ends; what the call has shown is noted."""

    def __init__(self, backend: LiveBackend, choice: BackendChoice) -> None:
        self.backend, self.choice = backend, choice
        self.usage = Usage()
        self._began = time.monotonic()
        backend.in_flight += 1
        backend.idle.clear()
        metrics.BACKEND_IN_FLIGHT.labels(backend.row.name).inc()
        backend.breaker(choice.model).on_call()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        backend, breaker = self.backend, self.backend.breaker(self.choice.model)
        backend.in_flight -= 1
        if not backend.in_flight:
            backend.idle.set()
        metrics.BACKEND_IN_FLIGHT.labels(backend.row.name).dec()
        if error is None:
            if breaker.on_success():
                backend.board.on_closed(self._key)
            self._count_success()
        elif not isinstance(error, UpstreamFailed) or error.fault in (Fault.INPUT, Fault.MODEL):
            self._note_nothing(breaker)
            metrics.BACKEND_CALLS.labels(backend.row.name, "no_fault").inc()
        else:
            backend.figures.on_error()
            metrics.BACKEND_CALLS.labels(backend.row.name, "failed").inc()
            self._note_failure(breaker, error)

    def _count_success(self) -> None:
        name, usage = self.backend.row.name, self.usage
        seconds = time.monotonic() - self._began
        self.backend.figures.on_success(seconds, usage.input_tokens, usage.output_tokens)
        metrics.BACKEND_CALLS.labels(name, "succeeded").inc()
        metrics.BACKEND_SECONDS.labels(name).observe(seconds)
        metrics.BACKEND_TOKENS.labels(name, "input").inc(usage.input_tokens)
        metrics.BACKEND_TOKENS.labels(name, "output").inc(usage.output_tokens)

    @property
    def _key(self) -> tuple[str, str]:
        return self.backend.key(self.choice.model)

    def _note_nothing(self, breaker: Breaker) -> None:
        if breaker.on_inconclusive():
            self.backend.board.on_inconclusive(self._key)

    def _note_failure(self, breaker: Breaker, error: UpstreamFailed) -> None:
        if error.fault is Fault.BUSY:  # it works, and says when it takes more
            self._note_nothing(breaker)
            self.backend.on_busy(error.retry_after)
        elif breaker.on_failure(time.monotonic()):
            self.backend.board.on_opened(self._key, breaker)
