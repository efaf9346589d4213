"""News for those who watch rather than ask: state changes of one's own predictions, and how the fleet and its queues change.

Changes of predictions come over Redis from every process (events); the fleet is looked at once a second for all watchers of this
process together, and not at all while nobody watches. Knows no WebSocket.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog

from app.events.reader import EventReader
from app.services.health import Health

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0


@dataclass(eq=False)
class Watcher:
    """`tell(topic, data)` must not block. `topics` may be changed at any time."""

    user_id: UUID | None
    is_operator: bool
    tell: Callable[[str, dict[str, Any]], None]
    topics: set[str] = field(default_factory=set)


class Topics:
    """One for each API process, used on its event loop."""

    def __init__(self, reader: EventReader, health: Health, threads: Executor) -> None:
        self._reader, self._health, self._threads = reader, health, threads
        self._watchers: set[Watcher] = set()
        self._fleet: dict[str, dict[str, Any]] = {}
        self._task: asyncio.Task[None] | None = None
        reader.on_news = self._on_news

    def join(self, watcher: Watcher) -> None:
        """From now on it is told of its topics."""
        self._watchers.add(watcher)
        self.changed()

    def leave(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)

    def changed(self) -> None:
        """A watcher has other topics now."""
        if self._task is None and self._wanted("backend", "queue"):
            self._fleet = {}
            self._task = asyncio.ensure_future(self._look_again_and_again())

    def _wanted(self, *topics: str) -> bool:
        return any(watcher.topics.intersection(topics) for watcher in self._watchers)

    def _on_news(self, changes: list[list[str]]) -> None:
        """[user, prediction, status, model] of each change; a watcher hears of its own."""
        by_user: dict[str, list[Watcher]] = {}
        for watcher in self._watchers:
            if watcher.user_id and watcher.topics & {"status", "inference"}:
                by_user.setdefault(str(watcher.user_id), []).append(watcher)
        for user, prediction_id, status, model in changes if by_user else ():
            for watcher in by_user.get(user, ()):
                data = {"prediction_id": prediction_id, "status": status, "model": model}
                if "status" in watcher.topics:
                    watcher.tell("status", data)
                if "inference" in watcher.topics and status in ("succeeded", "failed", "canceled"):
                    watcher.tell("inference", data)

    async def _look_again_and_again(self) -> None:
        try:
            while self._wanted("backend", "queue"):
                with suppress(Exception):  # the database is away: there is no news
                    census = await asyncio.get_running_loop().run_in_executor(self._threads, self._health.census)
                    self._compare("backend", backend(census))
                    self._compare("queue", queues(census))
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._task = None

    def _compare(self, topic: str, now: dict[str, Any]) -> None:
        """Tells what is other than at the last look; a watcher that joined since hears of it with the next change."""
        before = self._fleet.get(topic)
        self._fleet[topic] = now
        if now == before:
            return
        for watcher in [watcher for watcher in self._watchers if topic in watcher.topics]:
            watcher.tell(topic, now if watcher.is_operator else totals(now))

    def close(self) -> None:
        if self._task:
            self._task.cancel()


def backend(census: dict[str, Any]) -> dict[str, Any]:
    """The live workers and what each has loaded."""
    workers = [
        {"device": row.device, "host": row.host, "models": sorted(model["model"] for model in row.models)}
        for row in census["workers"]
    ]
    loaded = sum(len(worker["models"]) for worker in workers)
    return {"live_workers": len(workers), "models_loaded": loaded, "workers": workers}


def queues(census: dict[str, Any]) -> dict[str, Any]:
    """What waits and runs."""
    depth = {queue["queue"]: queue["waiting"] for queue in census["queues"]}
    return {"waiting": sum(depth.values()), "running": census["running"], "queues": depth}


def totals(news: dict[str, Any]) -> dict[str, Any]:
    """What everybody may know: numbers without names."""
    return {name: value for name, value in news.items() if isinstance(value, int)}
