"""Moves what waits where nobody looks: in the queue of a worker that is gone, or of a class that has had no worker for a while.

What is pinned to one worker stays and waits for it. Knows the sweep's transaction, not the sweep.
"""

from collections.abc import Sequence

import orjson
from sqlalchemy.orm import Session

from app.db import predictions as table
from app.db import workers
from app.db.predictions import Stranded
from app.domain.versions import Placement
from app.queue import names, routing
from app.queue.routing import Situation, WorkerFacts

# A class's last worker may be starting again; its models may be far slower elsewhere.
CLASS_SECONDS = 60.0


def move_stranded(session: Session, live: Sequence[WorkerFacts]) -> int:
    """Returns how many were moved; they will be rung again."""
    read = {queue for worker in live if not worker.draining for queue in (worker.pinned, worker.device_class, names.ANY)}
    unread = [queue for queue in table.queues_waiting(session) if queue not in read]
    if not unread:
        return 0
    lately = workers.classes_seen(session, CLASS_SECONDS)
    found = table.stranded(session, [queue for queue in unread if queue not in lately])
    moves = {one: place for one in found if (place := place_of(one, live)) != one.queue}
    return table.move_queues(session, moves)


def place_of(one: Stranded, live: Sequence[WorkerFacts]) -> str:
    """Where it should wait now."""
    required = orjson.loads(one.requires) if one.requires else {}
    placement = Placement.of({"require": required})
    if "@" in one.queue and placement.is_a_class:
        return names.device_class(one.queue)
    return routing.choose(Situation("", placement, live)).queue
