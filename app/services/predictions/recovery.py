"""Sweeps: bounded, idempotent, safe to run twice and by any process. Nothing depends on one instance of the
clock.

What they look for: running work of dead workers, waiting work that nobody was notified of, queues that nobody
reads, passed deadlines, expired data.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from app.broker.queue_lists import UnreadLists
from app.broker.redis_marker import RedisMarker
from app.db import sweeps, workers
from app.db.session import Database
from app.domain import queue_names
from app.domain.errors import DatabaseRefused, Unavailable
from app.domain.routing import WorkerFacts
from app.observe import metrics
from app.services.platform.fleet import worker_facts
from app.services.platform.statistics import record_minutes
from app.services.predictions.after_commit import Notifier
from app.services.predictions.expiry import Expiry
from app.services.predictions.lifecycle import Lifecycle
from app.services.predictions.queue_rebalance import Rebalancer, queues_read
from app.services.predictions.user_cancels import UserCancels
from app.storage.base import Storage

log = structlog.get_logger(__name__)

LIMIT = 500  # rows a sweep takes at once: bounded work, the next sweep takes the rest
RECOVER_GROUP = 128  # of them in one transaction; each is read with up to 32 kB of input
NOTIFY_GROUP, NOTIFY_GROUPS = 2_000, 10
LISTS_SECONDS = 60.0
KEEP_WORKERS_DAYS = 7
DEADLINE_REASON = "Its deadline (Cancel-After) passed."


@dataclass(frozen=True, slots=True)
class SweepLimits:
    """From the settings: seconds of silence, hours of keeping."""

    dead_after: float
    retention_hours: float
    audit_days: int = 0


class Recovery:
    """One sweep after the other; each opens its own transactions."""

    def __init__(
        self,
        database: Database,
        lifecycle: Lifecycle,
        notifier: Notifier,
        redis_marker: RedisMarker,
        unread_lists: UnreadLists,
        storage: Storage,
        limits: SweepLimits,
    ) -> None:
        self._database, self._lifecycle = database, lifecycle
        self._notifier, self._redis_marker = notifier, redis_marker
        self._unread_lists, self._limits = unread_lists, limits
        self._in_touch_since: float | None = None
        self._lists_deleted_at = float("-inf")
        self._rebalancer = Rebalancer()
        self._user_cancels = UserCancels(database, lifecycle)
        self.expiry = Expiry(database, lifecycle, storage, limits.retention_hours, limits.audit_days)

    def sweep(self) -> None:
        """Everything once, unless another process is at it. Raises Unavailable when the database is away."""
        try:
            knows = self._knows_who_is_silent()
            with self._database.unit() as session:
                if not sweeps.lock_sweep(
                    session
                ):  # held until this transaction ends, so not by a process that has died
                    return
                self.notify_again()
                self.cancel_overdue()
                self._user_cancels.run()
                if knows:
                    self.recover_dead()
        except DatabaseRefused:  # it is there, and one of our statements was too much for it
            raise
        except Unavailable:
            self._in_touch_since = None
            raise
        record_minutes(self._database)
        self.expiry.run()
        metrics.SWEEPS.inc()

    def _knows_who_is_silent(self) -> bool:
        """After an outage of the database every worker looks silent: they are given half their time for
        another heartbeat."""
        if self._in_touch_since is None:
            self._in_touch_since = time.monotonic()
        return time.monotonic() - self._in_touch_since >= self._limits.dead_after / 2

    def recover_dead(self) -> int:
        """Retries or fails what dead workers held, and empties queues that nobody reads. Returns how many
        were taken."""
        with self._database.unit() as session:
            closed_workers = workers.close_silent(session, self._limits.dead_after)
            workers.forget(session, KEEP_WORKERS_DAYS)
            live = [worker_facts(row) for row in workers.live(session, self._limits.dead_after)]
            self._rebalancer.move(session, live)
        self._delete_unread_lists(live)
        alive = {worker.pinned for worker in live if not worker.draining}
        for worker in closed_workers:
            log.warning("worker_dead", worker=str(worker), silent_seconds=self._limits.dead_after)
        return self._take_from_dead(
            lambda queue: queue_names.device_class(queue) if "@" in queue and queue not in alive else None
        )

    def _take_from_dead(self, other_queue: Callable[[str], str | None]) -> int:
        taken = 0
        while taken < LIMIT:
            group = self._lifecycle.recover(self._limits.dead_after, RECOVER_GROUP, other_queue)
            taken += group
            if group < RECOVER_GROUP:
                break
        return taken

    def _delete_unread_lists(self, live: Sequence[WorkerFacts]) -> None:
        """Now and then: it looks at every key in Redis."""
        if time.monotonic() - self._lists_deleted_at < LISTS_SECONDS:
            return
        self._lists_deleted_at = time.monotonic()
        if deleted := self._unread_lists.delete(queues_read(live)):
            log.info("unread_lists_deleted", count=len(deleted), first=deleted[0])

    def empty_unread_queues(self) -> None:
        """Moves what waits where nobody reads and notifies of it: a worker that stops need not leave that to
        the next sweep."""
        with self._database.unit() as session:
            self._rebalancer.move(
                session, [worker_facts(row) for row in workers.live(session, self._limits.dead_after)]
            )
        self.notify_again()

    def notify_again(self) -> int:
        """Publishes a message for what none is known for; for all that waits, when Redis has lost its data.
        Returns how many."""
        notified = 0
        if self._redis_marker.is_missing():
            notified += self._notify_all()
            self._redis_marker.set()
        for _ in range(NOTIFY_GROUPS):
            with self._database.unit() as session:
                pairs = sweeps.take_unnotified(session, NOTIFY_GROUP)
            self._notifier.notify(pairs)
            notified += len(pairs)
            if len(pairs) < NOTIFY_GROUP:
                break
        return notified

    def _notify_all(self) -> int:
        queue, after = "", ""
        notified = 0
        while True:
            with self._database.unit() as session:
                pairs = sweeps.waiting(session, queue, after, NOTIFY_GROUP)
            if not pairs:
                log.warning("notified_of_everything_again", count=notified)
                return notified
            self._notifier.notify(pairs)
            (after, queue), notified = pairs[-1], notified + len(pairs)

    def cancel_overdue(self) -> int:
        """Ends what is past its Cancel-After. Returns how many."""
        with self._database.unit() as session:
            ids = sweeps.overdue(session, LIMIT)
        if ids:
            self._lifecycle.cancel(ids, DEADLINE_REASON)
        return len(ids)
