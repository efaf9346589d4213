"""What administrators do with queues: pause, resume, move, purge. Calls block.

A queue is paused in Postgres; workers read it with their heartbeats, within a second when Redis tells them.
What waits goes on waiting, and what runs goes on running.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from app.db import platform_facts, queue_counts, sweeps, workers
from app.db.platform_facts import PAUSED_QUEUES
from app.db.session import Database
from app.domain import queue_names
from app.domain.errors import Conflict, NotFound
from app.events.fleet_changes import FleetChangePublisher
from app.services.people.access import Principal
from app.services.platform.fleet_operations import listed
from app.services.predictions.after_commit import Notifier
from app.services.predictions.lifecycle import Lifecycle

AT_ONCE = 1_000  # predictions of one act
COUNTED = 100_000  # of a queue; more are said to be so many
PURGED = "An administrator removed it from its queue."


@dataclass(frozen=True, slots=True)
class QueueState:
    """What waits in a queue, who reads it, and who has paused it since when."""

    queue: str
    waiting: int
    oldest_seconds: float | None
    workers: list[str]
    paused_since: str | None = None
    paused_by: str | None = None


@dataclass(frozen=True, slots=True)
class QueueAct:
    """How many predictions an act was about; `more`: others wait there still, and the same call goes on."""

    count: int
    more: bool


class Queues:
    """One for each API process. Every method raises Forbidden for anybody but an administrator."""

    def __init__(
        self,
        database: Database,
        lifecycle: Lifecycle,
        notifier: Notifier,
        fleet_changes: FleetChangePublisher,
        dead_after: float,
    ) -> None:
        self._database, self._lifecycle = database, lifecycle
        self._notifier = notifier
        self._fleet_changes, self._dead_after = fleet_changes, dead_after

    def list_queues(self, principal: Principal) -> list[QueueState]:
        """Those in which something waits, that somebody reads, or that are paused, by their names."""
        principal.need_operator("see and change queues and workers")
        with self._database.unit() as session:
            live = workers.live(session, self._dead_after)
            paused = platform_facts.get(session, PAUSED_QUEUES) or {}
            names = {queue for worker in live for queue in worker.readable_queues} | paused.keys()
            names |= set(sweeps.queues_waiting(session))
            counts = queue_counts.in_queues(session, sorted(names), COUNTED)
        return [
            QueueState(
                count.queue,
                count.waiting,
                count.oldest_seconds,
                [worker.name for worker in live if count.queue in worker.queues],
                paused.get(count.queue, {}).get("since"),
                paused.get(count.queue, {}).get("by"),
            )
            for count in counts
        ]

    def pause(self, principal: Principal, queue: str) -> None:
        """Nothing is claimed out of it until `resume`. Raises NotFound."""
        principal.need_operator("see and change queues and workers")
        _need_queue(queue)
        entry = {"since": datetime.now(UTC).isoformat(timespec="seconds"), "by": principal.username}
        with self._database.unit() as session:
            if queue not in (platform_facts.get(session, PAUSED_QUEUES) or {}):
                platform_facts.merge(session, PAUSED_QUEUES, {queue: entry})
        self._fleet_changes.publish()

    def resume(self, principal: Principal, queue: str) -> None:
        """It is read again. Raises NotFound."""
        principal.need_operator("see and change queues and workers")
        _need_queue(queue)
        with self._database.unit() as session:
            platform_facts.remove_part(session, PAUSED_QUEUES, queue)
            ids = queue_counts.first_ids(session, queue, AT_ONCE)
        self._fleet_changes.publish()
        self._notifier.notify([(each, queue) for each in ids])

    def move(self, principal: Principal, queue: str, to: str) -> QueueAct:
        """Sends the oldest AT_ONCE to another queue, but for what is bound to where it waits. Raises
        NotFound, Conflict when nobody reads the other queue."""
        principal.need_operator("see and change queues and workers")
        _need_queue(queue)
        with self._database.unit() as session:
            read = {name for worker in workers.live(session, self._dead_after) for name in worker.queues}
            if to not in read or to == queue:
                raise Conflict(f"to: must be another queue that a worker reads: {listed(read - {queue})}.")
            ids = queue_counts.first_ids(session, queue, AT_ONCE)
            moved = sweeps.move(session, queue, to, ids)
        self._notifier.notify([(each, to) for each in moved])
        return QueueAct(len(moved), more=len(ids) == AT_ONCE and bool(moved))

    def purge(self, principal: Principal, queue: str) -> QueueAct:
        """Cancels the oldest AT_ONCE that wait in it. Raises NotFound."""
        principal.need_operator("see and change queues and workers")
        _need_queue(queue)
        with self._database.unit() as session:
            ids = queue_counts.first_ids(session, queue, AT_ONCE)
        predictions = self._lifecycle.cancel(ids, PURGED, waiting_only=True) if ids else {}
        count = sum(each.error == PURGED for each in predictions.values())
        return QueueAct(count, more=len(ids) == AT_ONCE)


def _need_queue(queue: str) -> None:
    if not queue_names.is_queue(queue):
        raise NotFound(f"{queue!r} is no name of a queue: a device class, a worker such as cpu@host, or any.")
