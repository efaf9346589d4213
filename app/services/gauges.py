"""The metrics of an API process: what it has counted, what it holds, and what the whole platform holds. Knows no HTTP."""

import hmac

from app.db import census, gauges
from app.db.session import Database
from app.domain.errors import Unavailable
from app.events.reader import EventReader
from app.observe import metrics
from app.observe.metrics import Exposition, Gauges, Readings
from app.queue.publisher import Publisher

KEEP_SECONDS = 5.0  # several Prometheus servers, or an eager one, cost the database one look


def may_scrape(token: str, authorization: str | None) -> bool:
    """Whether an Authorization header carries METRICS_TOKEN. An empty token lets nobody in by this way."""
    scheme, _, given = (authorization or "").partition(" ")
    return bool(token) and scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), token.encode())


class ApiMetrics:
    """One for each API process. `render` blocks."""

    def __init__(self, database: Database, reader: EventReader, publisher: Publisher, dead_after: float) -> None:
        self._database, self._reader, self._publisher, self._dead_after = database, reader, publisher, dead_after
        own = Gauges(metrics.OF_API, self._own)
        self._all = Exposition(metrics.EVERYWHERE, metrics.API, own, Gauges(metrics.FLEET, self._fleet, KEEP_SECONDS))

    def render(self, accept: str) -> tuple[bytes, str]:
        """(body, content type)."""
        return self._all.render(accept)

    def _own(self) -> Readings:
        streams, waits = self._reader.readers()
        return {
            "lovage_readers": {("stream",): streams, ("wait",): waits},
            "lovage_events_connected": {(): float(self._reader.healthy)},
            "lovage_doorbells_dropped_total": {(): self._publisher.dropped},
        }

    def _fleet(self) -> Readings:
        try:
            with self._database.unit() as session:
                waiting, live = gauges.waiting(session), gauges.workers(session, self._dead_after)
                webhooks, running = gauges.webhooks(session), census.running(session)
        except Unavailable:
            return {"lovage_database_up": {(): 0.0}}
        return {
            "lovage_database_up": {(): 1.0},
            "lovage_waiting": {(row.queue,): row.waiting for row in waiting},
            "lovage_waiting_oldest_seconds": {(row.queue,): row.oldest for row in waiting},
            "lovage_running": {(): running},
            "lovage_workers": {(row.device_class,): row.workers for row in live},
            "lovage_slots": {(row.device_class,): row.slots for row in live},
            "lovage_webhooks_pending": {("new",): webhooks.new, ("again",): webhooks.again},
            "lovage_webhooks_overdue_seconds": {(): webhooks.overdue or 0.0},
        }
