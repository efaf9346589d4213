"""What happened to one prediction, in order: put together from its row, the attempts that were handed back
and its webhooks. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.domain.deliveries import Delivery
from app.domain.predictions import Prediction


@dataclass(frozen=True, slots=True)
class EndedAttempt:
    """An attempt that was handed back. `worker` None: nobody knows its name any more."""

    attempt: int
    worker: str | None
    started_at: datetime | None
    ended_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """`event` is accepted, started, handed_back, succeeded, failed, canceled, webhook or data_removed. What
    does not belong to it is None. `backend`: who answered elsewhere."""

    at: datetime
    event: str
    attempt: int | None = None
    worker: str | None = None
    backend: str | None = None
    reason: str | None = None
    webhook: str | None = None
    status_code: int | None = None
    seconds: float | None = None


def list_events(
    prediction: Prediction,
    attempts: Sequence[EndedAttempt],
    worker: str | None,
    deliveries: Sequence[Delivery],
) -> list[HistoryEvent]:
    """Oldest first. `worker` is the name of the one that has the prediction now, or had it last."""
    events = [
        _accepted(prediction),
        *_handed_back(attempts),
        *_last_attempt(prediction, worker, attempts),
        *_webhooks(deliveries),
    ]
    if prediction.data_removed_at:
        events.append(HistoryEvent(prediction.data_removed_at, "data_removed"))
    return sorted(events, key=lambda event: event.at)  # stable: of one moment, in the order above


def _accepted(prediction: Prediction) -> HistoryEvent:
    reasons = (prediction.routing or {}).get("reasons") or []
    return HistoryEvent(prediction.created_at, "accepted", reason="; ".join(map(str, reasons)) or None)


def _handed_back(attempts: Sequence[EndedAttempt]) -> Iterator[HistoryEvent]:
    for each in attempts:
        if each.started_at:
            yield HistoryEvent(each.started_at, "started", each.attempt, each.worker)
        yield HistoryEvent(each.ended_at, "handed_back", each.attempt, each.worker, reason=each.reason)


def _last_attempt(
    prediction: Prediction, worker: str | None, attempts: Sequence[EndedAttempt]
) -> Iterator[HistoryEvent]:
    number = prediction.attempt or None
    backend = prediction.metrics.get("backend")
    is_known = any(each.attempt == prediction.attempt for each in attempts)  # handed back, and waits
    if prediction.started_at and not is_known:
        yield HistoryEvent(prediction.started_at, "started", number, worker)
    if prediction.completed_at:
        own = (None, None) if is_known else (number, worker)
        status, error = prediction.status.value, prediction.error
        yield HistoryEvent(prediction.completed_at, status, *own, backend=backend, reason=error)


def _webhooks(deliveries: Sequence[Delivery]) -> Iterator[HistoryEvent]:
    for delivery in deliveries:
        for attempt in delivery.attempts:
            yield HistoryEvent(
                attempt.at,
                "webhook",
                reason=attempt.error,
                webhook=delivery.event,
                status_code=attempt.status_code,
                seconds=attempt.seconds,
            )
