"""Where a waiting prediction stands in its queue, and when it is likely to start. Knows no HTTP.

One look into Postgres a second for each queue that anybody asks about, however many ask: the first of
everybody who waits, along the index that workers go by. Users take turns (domain/claim_order.py): who has one
prediction behind another's thousand stands second. How fast a queue moves is learned from
what has left between two looks; with no second look yet there is no estimate.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.db import queue_counts, turns
from app.db.session import Database
from app.db.users import weights
from app.domain.claim_order import ClaimOrder
from app.domain.errors import Unavailable
from app.domain.predictions import Prediction, Status, Waiting

LOOK_SECONDS = 1.0
COUNTED = 1_000  # rows that a look reads, of everybody together; behind what it has seen it is "more than"
SPEEDS = 60  # looks remembered
QUEUES = 1_000
MINE = 100  # positions of one user shown at once
LONGEST_HINT, SHORTEST_HINT = 30, 1


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """`position` 1 is next; None: behind `more_than` others at least. Seconds until the start by the median
    and by the tenth slowest recent speed; None: not known."""

    position: int | None
    more_than: int | None
    p50: float | None
    p90: float | None

    @property
    def retry_after(self) -> int:
        """Whole seconds after which it is worth asking again."""
        return min(LONGEST_HINT, max(SHORTEST_HINT, round((self.p50 or 0.0) / 2)))

    def as_json(self) -> dict[str, Any]:
        """As callers see it."""
        waits = (
            None
            if self.p50 is None or self.p90 is None
            else {"p50": round(self.p50, 1), "p90": round(self.p90, 1)}
        )
        return {
            "position": self.position,
            "more_than": self.more_than,
            "starts_in_seconds": waits,
        }


@dataclass(slots=True)
class _Queue:
    order: ClaimOrder | None = None
    at: float = float("-inf")
    speeds: deque[float] = field(default_factory=lambda: deque(maxlen=SPEEDS))
    looking: "asyncio.Future[None] | None" = None


class QueuePositions:
    """One for each API process, used from its event loop."""

    def __init__(self, database: Database, threads: Executor) -> None:
        self._database, self._threads = database, threads
        self._queues: dict[str, _Queue] = {}

    async def position(self, prediction: Prediction) -> QueuePosition | None:
        """Its position; None when it does not wait, or when that is not to be had just now: a position is a
        courtesy."""
        if prediction.status is not Status.STARTING:
            return None
        try:
            return await self._position(prediction.queue, _as_waiting(prediction))
        except Unavailable:
            return None

    async def positions_by_user(self, users: Sequence[UUID]) -> dict[UUID, list[tuple[str, QueuePosition]]]:
        """Ids and positions of each user's waiting predictions, the first MINE of each; users without any are
        left out.

        Raises Unavailable.
        """

        def read() -> list[tuple[str, Waiting]]:
            with self._database.unit() as session:
                return queue_counts.first_of_users(session, users, MINE)

        positions: dict[UUID, list[tuple[str, QueuePosition]]] = {}
        for queue, waiting in await asyncio.get_running_loop().run_in_executor(self._threads, read):
            if waiting.user_id and (position := await self._position(queue, waiting)):
                positions.setdefault(waiting.user_id, []).append((waiting.id, position))
        return positions

    async def _position(self, name: str, waiting: Waiting) -> QueuePosition | None:
        if name not in self._queues and len(self._queues) >= QUEUES:
            self._queues.clear()
        queue = self._queues.setdefault(name, _Queue())
        if time.monotonic() - queue.at > LOOK_SECONDS:
            if queue.looking is None:
                queue.looking = asyncio.ensure_future(self._look(name, queue))
            await asyncio.shield(queue.looking)
        return position_in(queue.order, queue.speeds, waiting) if queue.order else None

    async def _look(self, name: str, queue: _Queue) -> None:
        def read() -> ClaimOrder:
            with self._database.unit() as session:
                waiting = turns.next_of_groups(session, [name], COUNTED)
                return ClaimOrder(waiting, weights(session), COUNTED)

        try:
            order = await asyncio.get_running_loop().run_in_executor(self._threads, read)
            now = time.monotonic()
            if (seconds := now - queue.at) < 10 * LOOK_SECONDS and queue.order:
                queue.speeds.append(queue.order.count_left(order) / seconds)
            queue.order, queue.at = order, now
        finally:
            queue.looking = None


def _as_waiting(prediction: Prediction) -> Waiting:
    seconds = max(0.0, time.time() - prediction.created_at.timestamp())
    return Waiting(
        prediction.id, prediction.version_id, prediction.user_id, prediction.priority, seconds=seconds
    )


def position_in(order: ClaimOrder, speeds: Sequence[float], waiting: Waiting) -> QueuePosition | None:
    """The place among those of a look, and the wait at recent `speeds` (predictions a second). None: so many
    users wait that the look has not seen this one."""
    if order.group_count >= turns.GROUPS and not order.knows_user_of(waiting):
        return None
    ahead, is_all = order.count_ahead(waiting)
    moving = sorted(speed for speed in speeds if speed > 0)
    if not is_all:
        return QueuePosition(None, ahead, None, None)
    if not moving:
        return QueuePosition(ahead + 1, None, None, None)
    p50, p90 = ((ahead + 1) / moving[len(moving) // share] for share in (2, 10))
    return QueuePosition(ahead + 1, None, p50, p90)
