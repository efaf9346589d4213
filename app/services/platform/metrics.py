"""The metrics of an API process: what it has counted, what it holds, and what the whole platform holds. Knows
no HTTP."""

import hmac
from collections.abc import Callable, Mapping

import structlog
from sqlalchemy.orm import Session

from app.broker.publisher import Publisher
from app.db import expiry, queue_counts, workers
from app.db.session import Database
from app.domain.errors import Unavailable
from app.events.reader import EventReader
from app.observe import metrics
from app.observe.metrics import Exposition, Gauges, Readings

log = structlog.get_logger(__name__)

COUNTED = 10_000  # of one queue: half a second on a busy machine for rows that were never looked at before
KEEP_SECONDS = 5.0  # several Prometheus servers, or an eager one, cost the database one look


def may_scrape(token: str, authorization: str | None) -> bool:
    """Whether an Authorization header carries METRICS_TOKEN. An empty token lets nobody in by this way."""
    scheme, _, credential = (authorization or "").partition(" ")
    is_bearer = bool(token) and scheme.lower() == "bearer"
    return is_bearer and hmac.compare_digest(credential.encode(), token.encode())


class ApiMetrics:
    """One for each API process. `websockets` says how many are open. `render` blocks."""

    def __init__(
        self,
        database: Database,
        reader: EventReader,
        websockets: Callable[[], int],
        publisher: Publisher,
        dead_after: float,
        retention: expiry.RetentionHours,
    ) -> None:
        self._database, self._reader = database, reader
        self._retention = retention
        self._websockets = websockets
        self._publisher, self._dead_after = publisher, dead_after
        own = Gauges(metrics.OF_API, self._own)
        self._all = Exposition(
            metrics.EVERYWHERE, metrics.API, own, Gauges(metrics.FLEET, self._fleet, KEEP_SECONDS)
        )

    def render(self, accept: str) -> tuple[bytes, str]:
        """(body, content type)."""
        return self._all.render(accept)

    def _own(self) -> Readings:
        streams, waits = self._reader.readers()
        return {
            "lovage_readers": {
                ("stream",): streams,
                ("wait",): waits,
                ("websocket",): self._websockets(),
            },
            "lovage_events_connected": {(): float(self._reader.healthy)},
            "lovage_messages_dropped_total": {(): self._publisher.dropped},
            "lovage_messages_refused_total": {(): self._publisher.refused},
        }

    def _fleet(self) -> Readings:
        try:
            self._database.answers()
        except Unavailable:
            return {"lovage_database_up": {(): 0.0}}
        readings: dict[str, Mapping[tuple[str, ...], float]] = {"lovage_database_up": {(): 1.0}}
        for look in (_waiting, self._live, _running, _webhooks, self._expiry):
            try:
                with self._database.unit() as session:
                    readings |= look(session)
            except Unavailable:
                log.warning("metrics_left_out", what=look.__name__.strip("_"))
        return readings

    def _live(self, session: Session) -> Readings:
        live = workers.count_by_class(session, self._dead_after)
        return {
            "lovage_workers": {(row.device_class,): row.workers for row in live},
            "lovage_slots": {(row.device_class,): row.slots for row in live},
        }

    def _expiry(self, session: Session) -> Readings:
        overdue = expiry.overdue_seconds(session, self._retention)
        return {"lovage_expiry_overdue_seconds": {(kind,): overdue[kind] for kind in overdue}}


def _waiting(session: Session) -> Readings:
    counts = queue_counts.in_all_queues(session, COUNTED)
    return {
        "lovage_waiting": {(count.queue,): count.waiting for count in counts},
        "lovage_waiting_oldest_seconds": {(count.queue,): count.oldest_seconds or 0.0 for count in counts},
    }


def _running(session: Session) -> Readings:
    return {"lovage_running": {(): queue_counts.running(session)}}


def _webhooks(session: Session) -> Readings:
    pending = queue_counts.webhooks(session)
    return {
        "lovage_webhooks_pending": {("new",): pending.new, ("again",): pending.again},
        "lovage_webhooks_overdue_seconds": {(): pending.overdue_seconds},
    }
