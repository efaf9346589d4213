"""What operators want of this worker: that it takes nothing more, or nothing out of some queues."""

import time
from collections.abc import Collection

import structlog

from app.worker.intake import Intake
from app.worker.run import InFlight

log = structlog.get_logger(__name__)


class Draining:
    """`apply` at each heartbeat; called by one thread. A drained worker hands back at once what it has not
    begun, and after `grace_seconds` what still runs."""

    def __init__(self, intake: Intake, in_flight: InFlight, grace_seconds: float) -> None:
        self._intake, self._in_flight = intake, in_flight
        self._grace_seconds = grace_seconds
        self._drained_at: float | None = None

    def apply(self, *, drained: bool, paused: Collection[str]) -> None:
        """Nothing changes where nothing is new."""
        self._intake.pause_queues(paused)
        if drained:
            self._drain()
        elif self._drained_at is not None:
            self._drained_at = None
            self._intake.resume()
            log.info("resumed")

    def _drain(self) -> None:
        now = time.monotonic()
        if self._drained_at is None:
            self._drained_at = now
            self._intake.pause()
            log.info("drained", running=len(self._in_flight), grace_seconds=self._grace_seconds)
        if now - self._drained_at > self._grace_seconds:
            self._in_flight.hand_back_all()
        else:
            self._in_flight.hand_back_waiting()
