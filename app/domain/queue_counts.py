"""What waits in a queue, as numbers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueCount:
    """Predictions that wait in one queue: how many, and since how many seconds the oldest of them (None when
    nothing waits)."""

    queue: str
    waiting: int
    oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class WebhookCounts:
    """Deliveries that are to be sent: those never tried, those to be tried again, and how many seconds the
    most overdue of them is late."""

    new: int
    again: int
    overdue_seconds: float
