"""Where a waiting prediction stands in its queue, and when it is likely to start. Knows no HTTP.

One look into Postgres a second for each queue that anybody asks about, however many ask: the ids of the first
that wait, from an index. How fast a queue moves is learned from what has left between two looks; with no
second look yet there is no estimate.
"""

import asyncio
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.db import queue_counts
from app.db.session import Database
from app.domain.errors import Unavailable
from app.domain.predictions import Prediction, Status

LOOK_SECONDS = 1.0
COUNTED = 1_000  # positions shown; further back it is "more than so many"
SPEEDS = 60  # looks remembered
QUEUES = 1_000
MINE = 100  # positions of one user shown at once
LONGEST_HINT, SHORTEST_HINT = 30, 1


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """`position` 1 is next; None: behind more than COUNTED others. Seconds until the start by the median and
    by the tenth slowest recent speed; None: not known."""

    position: int | None
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
            "more_than": COUNTED if self.position is None else None,
            "starts_in_seconds": waits,
        }


@dataclass(slots=True)
class _Queue:
    ids: Sequence[str] = ()
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
            return await self._position(prediction.queue, prediction.id)
        except Unavailable:
            return None

    async def positions_by_user(self, users: Sequence[UUID]) -> dict[UUID, list[tuple[str, QueuePosition]]]:
        """Ids and positions of each user's waiting predictions, the first MINE of each; users without any are
        left out.

        Raises Unavailable.
        """

        def read() -> dict[UUID, list[tuple[str, str]]]:
            with self._database.unit() as session:
                return queue_counts.first_of_users(session, users, MINE)

        by_user = await asyncio.get_running_loop().run_in_executor(self._threads, read)
        return {
            user: [(id_, await self._position(queue, id_)) for id_, queue in waiting]
            for user, waiting in by_user.items()
        }

    async def _position(self, name: str, prediction_id: str) -> QueuePosition:
        if name not in self._queues and len(self._queues) >= QUEUES:
            self._queues.clear()
        queue = self._queues.setdefault(name, _Queue())
        if time.monotonic() - queue.at > LOOK_SECONDS:
            if queue.looking is None:
                queue.looking = asyncio.ensure_future(self._look(name, queue))
            await asyncio.shield(queue.looking)
        return position_in(queue.ids, queue.speeds, prediction_id)

    async def _look(self, name: str, queue: _Queue) -> None:
        def read() -> list[str]:
            with self._database.unit() as session:
                return queue_counts.first_ids(session, name, COUNTED)

        try:
            ids = await asyncio.get_running_loop().run_in_executor(self._threads, read)
            now = time.monotonic()
            if (seconds := now - queue.at) < 10 * LOOK_SECONDS and queue.ids:
                queue.speeds.append(left_since(queue.ids, ids) / seconds)
            queue.ids, queue.at = ids, now
        finally:
            queue.looking = None


def left_since(before: Sequence[str], now: Sequence[str]) -> int:
    """How many of those that waited first have gone."""
    return len(before) - len(set(before).intersection(now))


def position_in(ids: Sequence[str], speeds: Sequence[float], prediction_id: str) -> QueuePosition:
    """The place of an id among the sorted first `ids`, and its wait at recent `speeds` (predictions a
    second)."""
    ahead = bisect_left(ids, prediction_id)
    position = ahead + 1 if ahead < COUNTED else None
    moving = sorted(speed for speed in speeds if speed > 0)
    if position is None or not moving:
        return QueuePosition(position, None, None)
    return QueuePosition(position, position / moving[len(moving) // 2], position / moving[len(moving) // 10])
