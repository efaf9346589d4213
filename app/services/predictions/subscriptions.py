"""Events for subscribers: state changes of their own predictions, and how the fleet and its queues change.

Changes of predictions come over Redis from every process (events); the fleet, its queues and the positions of
the subscribers' own predictions are looked at once a second for all subscriptions of this process together,
and not at all without any. A subscription is sent what differs from what it was sent last. Knows no
WebSocket.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog

from app.domain.errors import LovageError
from app.domain.predictions import TERMINAL
from app.events.reader import EventReader
from app.services.platform.health import Census, Health
from app.services.predictions.queue_position import QueuePositions

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0


@dataclass(eq=False)
class Subscription:
    """`send(topic, data)` must not block. `topics` may be changed at any time."""

    user_id: UUID | None
    is_operator: bool
    send: Callable[[str, dict[str, Any]], None]
    topics: set[str] = field(default_factory=set)
    last_sent: dict[str, Any] = field(default_factory=dict)

    def update(self, topic: str, now: Any, data: dict[str, Any]) -> None:
        """Sends `data` unless `now`, what of it matters, was sent last."""
        if topic in self.topics and self.last_sent.get(topic) != now:
            self.last_sent[topic] = now
            self.send(topic, data)


class Subscriptions:
    """One for each API process, used on its event loop."""

    def __init__(
        self, reader: EventReader, health: Health, queue_positions: QueuePositions, threads: Executor
    ) -> None:
        self._reader, self._health = reader, health
        self._queue_positions, self._threads = queue_positions, threads
        self._subscriptions: set[Subscription] = set()
        self._task: asyncio.Task[None] | None = None
        reader.on_state_changes = self._on_state_changes

    def join(self, subscription: Subscription) -> None:
        """From now on it is sent its topics."""
        self._subscriptions.add(subscription)
        self.changed(subscription)

    def leave(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)

    @property
    def active(self) -> int:
        """How many there are."""
        return len(self._subscriptions)

    def changed(self, subscription: Subscription) -> None:
        """It has other topics now: of new ones it is sent how things stand."""
        subscription.last_sent = {
            topic: known for topic, known in subscription.last_sent.items() if topic in subscription.topics
        }
        if self._task is None and self._is_subscribed("backend", "queue"):
            self._task = asyncio.ensure_future(self._look_again_and_again())

    def _is_subscribed(self, *topics: str) -> bool:
        return any(subscription.topics.intersection(topics) for subscription in self._subscriptions)

    def _on_state_changes(self, changes: list[list[str]]) -> None:
        """[user, prediction, status, model] of each change; a subscription gets its user's own."""
        by_user: dict[str, list[Subscription]] = {}
        for subscription in self._subscriptions:
            if subscription.user_id and subscription.topics & {"status", "inference"}:
                by_user.setdefault(str(subscription.user_id), []).append(subscription)
        for user, prediction_id, status, model in changes if by_user else ():
            for subscription in by_user.get(user, ()):
                data = {"prediction_id": prediction_id, "status": status, "model": model}
                if "status" in subscription.topics:
                    subscription.send("status", data)
                if "inference" in subscription.topics and status in TERMINAL:
                    subscription.send("inference", data)

    async def _look_again_and_again(self) -> None:
        try:
            while self._is_subscribed("backend", "queue"):
                try:
                    await self._look()
                except LovageError as error:  # the database is away: there is nothing new
                    log.debug("topics_not_read", reason=error.detail)
                except Exception:  # one bad look must not end all later ones
                    log.exception("topics_broken")
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._task = None

    async def _look(self) -> None:
        census = await asyncio.get_running_loop().run_in_executor(self._threads, self._health.census)
        fleet, depths = backend(census), queues(census)
        for subscription in list(self._subscriptions):
            data = fleet if subscription.is_operator else totals(fleet)
            subscription.update("backend", data, data)
        users = {each.user_id for each in self._subscriptions if each.user_id and "queue" in each.topics}
        positions = await self._queue_positions.positions_by_user(list(users)) if users else {}
        for subscription in list(self._subscriptions):
            shown = depths if subscription.is_operator else totals(depths)
            mine = positions.get(subscription.user_id, []) if subscription.user_id else []
            now = shown, [(id_, position.position) for id_, position in mine]  # the estimates always change
            listed = [{"prediction_id": id_, **position.as_json()} for id_, position in mine]
            subscription.update("queue", now, {**shown, "mine": listed})

    def close(self) -> None:
        if self._task:
            self._task.cancel()


def backend(census: Census) -> dict[str, Any]:
    """The live workers and what each has loaded."""
    workers = [
        {"device": worker.device, "host": worker.host, "models": worker.loaded_models}
        for worker in census.workers
    ]
    loaded = sum(len(worker["models"]) for worker in workers)
    return {"live_workers": len(workers), "models_loaded": loaded, "workers": workers}


def queues(census: Census) -> dict[str, Any]:
    """What waits and runs."""
    depth = {queue.queue: queue.waiting for queue in census.queues}
    counts = {"waiting": census.waiting, "claimed": census.claimed, "running": census.running}
    return {**counts, "queues": depth}


def totals(state_changes: dict[str, Any]) -> dict[str, Any]:
    """What everybody may know: numbers without names."""
    return {name: value for name, value in state_changes.items() if isinstance(value, int)}
