"""A webhook on its way to its receiver: as its owner sees it, as the courier sends it, what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One try: the receiver's status code, or why there was none; `seconds` it took."""

    at: datetime
    status_code: int | None
    error: str | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event of a prediction for its webhook. `id` is the same over all tries. `next_at` is None when
    nothing more is to be done."""

    id: str
    event: str
    url: str
    tries: int
    created_at: datetime
    next_at: datetime | None
    delivered_at: datetime | None
    given_up_at: datetime | None
    attempts: tuple[DeliveryAttempt, ...] = ()

    @property
    def status(self) -> str:
        """pending, delivered or given_up."""
        if self.next_at is not None:
            return "pending"
        return "delivered" if self.delivered_at else "given_up"


@dataclass(frozen=True, slots=True)
class SentDelivery:
    """A delivery in a list of many predictions'."""

    prediction: str
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A delivery taken for sending. `request_id` is of the request that made its prediction. `secrets` are
    its user's, the newest first, each of which signs it; None for an anonymous prediction's."""

    id: str
    event: str
    url: str
    body: bytes
    tries: int
    user_id: UUID | None
    secrets: Sequence[str] | None = field(repr=False)
    prediction_id: str = ""
    request_id: str | None = None
    traceparent: str | None = None

    @property
    def log_names(self) -> dict[str, str]:
        """What a line of a log about it says of which one it is."""
        named = {"delivery": self.id, "prediction": self.prediction_id}
        return {**named, "request_id": self.request_id} if self.request_id else named


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What came of one try. `delay` in seconds until the next, None: no other."""

    id: str
    status: int | None
    error: str | None
    seconds: float
    delay: float | None
