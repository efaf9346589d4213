"""Predictions of callers that call a worker itself: what stands for the queue's lifecycle and the fleet's
routing when such a one is accepted. They never wait in a queue: the worker runs them from the moment they
exist."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from app.domain.predictions import Prediction, Status, accepted_at
from app.domain.routing import Choice
from app.services.predictions.lifecycle import Lifecycle

STRATEGY = "direct"
REASONS = ("its caller called this worker",)


class HasId(Protocol):
    """A worker's present incarnation."""

    @property
    def id(self) -> UUID: ...


class RunningHere:
    """Accepts predictions as running on this worker."""

    def __init__(self, lifecycle: Lifecycle, identity: HasId) -> None:
        self._lifecycle, self._identity = lifecycle, identity
        self.cancel = lifecycle.cancel

    def accept(self, rows: Sequence[dict[str, Any]]) -> dict[str, Prediction]:
        """As `Lifecycle.accept`, without a message; they began when their ids were made. Raises
        Unavailable."""
        now = time.time()
        begun = [{**row, "begun_ago": max(0.0, now - accepted_at(row["id"]))} for row in rows]
        return self._lifecycle.accept(begun, self._identity.id)

    def begin(self, row: Mapping[str, Any], checked: dict[str, Any]) -> Prediction:
        """The prediction that `accept` will have written, for one that runs before it is."""
        now = datetime.now(UTC)
        return Prediction(
            row["id"],
            row["user_id"],
            row["version_id"],
            row["model"],
            Status.PROCESSING,
            row["queue"],
            now,
            checked,
            stream=row["stream"],
            source=row["source"],
            attempt=1,
            worker=self._identity.id,
            timeout=row["timeout"],
            routing=row["routing"],
            started_at=now,
            input_bytes=row["input_bytes"],
            priority=row["priority"],
        )


class ThisWorker:
    """Routes everything to one worker's own queue."""

    def __init__(self, queue: str) -> None:
        self._choice = Choice(queue, STRATEGY, REASONS)

    async def route(self, version: str, config: Mapping[str, Any]) -> Choice:
        """As `Fleet.route`."""
        return self._choice
