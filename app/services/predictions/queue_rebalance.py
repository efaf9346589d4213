"""Moves what waits where nobody looks: in the queue of a worker that is gone, or of a class that has had no
worker for a while.

What is pinned to one worker stays and waits for it. Knows the sweep's transaction, not the sweep.
"""

from collections.abc import Sequence

import orjson
from sqlalchemy.orm import Session

from app.db import sweeps, workers
from app.domain import queue_names, routing
from app.domain.routing import Situation, WorkerFacts
from app.domain.versions import Placement

# A class's last worker may be starting again; its models may be far slower elsewhere.
CLASS_SECONDS = 60.0


# Rows of one queue that are looked at together. A sweep looks at more of them only while it finds some to
# move: a million that must stay where they wait cost it next to nothing.
LOOKED_AT, SLICES = 500, 20


class Rebalancer:
    """Remembers how far it has looked into each queue."""

    def __init__(self, looked_at: int = LOOKED_AT) -> None:
        self._looked_at = looked_at
        self._after: dict[str, str] = {}

    def move(self, session: Session, live: Sequence[WorkerFacts]) -> int:
        """Returns how many were moved; they are to be notified of again."""
        read = queues_read(live)
        unread = [queue for queue in sweeps.queues_waiting(session) if queue not in read]
        lately = workers.classes_seen(session, CLASS_SECONDS) if unread else ()
        return sum(self._rebalance_queue(session, queue, live) for queue in unread if queue not in lately)

    def _rebalance_queue(self, session: Session, queue: str, live: Sequence[WorkerFacts]) -> int:
        moved = 0
        for _ in range(SLICES):
            part = sweeps.queue_slice(session, queue, self._after.pop(queue, ""), self._looked_at)
            queues = {kind: queue_for(queue, kind, live) for kind in part.kinds}
            moves = {kind: other for kind, other in queues.items() if other != queue}
            now = sweeps.move_queues(session, part, moves)
            moved += now
            if part.count < self._looked_at:
                break
            self._after[queue] = part.last
            if not now:
                break
        return moved


def queues_read(live: Sequence[WorkerFacts]) -> set[str]:
    """The queues that somebody reads."""
    return {
        queue
        for worker in live
        if not worker.draining
        for queue in queue_names.queues_of(worker.device, worker.host)
    }


def queue_for(queue: str, kind: str | None, live: Sequence[WorkerFacts]) -> str:
    """Where what waits in `queue` and requires that should wait now."""
    placement = Placement.from_config({"require": orjson.loads(kind) if kind else {}})
    device_class = queue_names.device_class(queue)
    if "@" in queue and placement.is_a_class and queue_names.is_queue(device_class):
        return device_class
    return routing.choose(Situation("", placement, live)).queue
