"""News for those who watch rather than ask: state changes of one's own predictions, and how the fleet and its queues change.

Changes of predictions come over Redis from every process (events); the fleet, its queues and the places of the watchers' own
predictions are looked at once a second for all watchers of this process together, and not at all while nobody watches.
A watcher is told what is other than what it was told last. Knows no WebSocket.
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
from app.services.health import Census, Health, loaded_on
from app.services.waiting_line import WaitingLine

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0


@dataclass(eq=False)
class Watcher:
    """`tell(topic, data)` must not block. `topics` may be changed at any time."""

    user_id: UUID | None
    is_operator: bool
    tell: Callable[[str, dict[str, Any]], None]
    topics: set[str] = field(default_factory=set)
    told: dict[str, Any] = field(default_factory=dict)

    def hear(self, topic: str, now: Any, data: dict[str, Any]) -> None:
        """Tells it of `data` unless `now`, what of it matters, is what it knows."""
        if topic in self.topics and self.told.get(topic) != now:
            self.told[topic] = now
            self.tell(topic, data)


class Topics:
    """One for each API process, used on its event loop."""

    def __init__(self, reader: EventReader, health: Health, line: WaitingLine, threads: Executor) -> None:
        self._reader, self._health, self._line, self._threads = reader, health, line, threads
        self._watchers: set[Watcher] = set()
        self._task: asyncio.Task[None] | None = None
        reader.on_news = self._on_news

    def join(self, watcher: Watcher) -> None:
        """From now on it is told of its topics."""
        self._watchers.add(watcher)
        self.changed(watcher)

    def leave(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)

    @property
    def watching(self) -> int:
        """How many watch."""
        return len(self._watchers)

    def changed(self, watcher: Watcher) -> None:
        """It has other topics now: of new ones it will hear how things stand."""
        watcher.told = {topic: known for topic, known in watcher.told.items() if topic in watcher.topics}
        if self._task is None and self._wanted("backend", "queue"):
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
                if "inference" in watcher.topics and status in TERMINAL:
                    watcher.tell("inference", data)

    async def _look_again_and_again(self) -> None:
        try:
            while self._wanted("backend", "queue"):
                try:
                    await self._look()
                except LovageError as error:  # the database is away: there is no news
                    log.debug("topics_not_read", reason=error.detail)
                except Exception:
                    log.exception("topics_broken")
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._task = None

    async def _look(self) -> None:
        census = await asyncio.get_running_loop().run_in_executor(self._threads, self._health.census)
        fleet, depths = backend(census), queues(census)
        for watcher in list(self._watchers):
            data = fleet if watcher.is_operator else totals(fleet)
            watcher.hear("backend", data, data)
        users = {one.user_id for one in self._watchers if one.user_id and "queue" in one.topics}
        places = await self._line.places(list(users)) if users else {}
        for watcher in list(self._watchers):
            known = depths if watcher.is_operator else totals(depths)
            mine = places.get(watcher.user_id, []) if watcher.user_id else []
            now = known, [(one, place.position) for one, place in mine]  # the estimates always change
            watcher.hear("queue", now, {**known, "mine": [{"prediction_id": one, **place.as_json()} for one, place in mine]})

    def close(self) -> None:
        if self._task:
            self._task.cancel()


def backend(census: Census) -> dict[str, Any]:
    """The live workers and what each has loaded."""
    workers = [{"device": row.device, "host": row.host, "models": loaded_on(row)} for row in census.workers]
    loaded = sum(len(worker["models"]) for worker in workers)
    return {"live_workers": len(workers), "models_loaded": loaded, "workers": workers}


def queues(census: Census) -> dict[str, Any]:
    """What waits and runs."""
    depth = {queue["queue"]: queue["waiting"] for queue in census.queues}
    return {"waiting": census.waiting, "running": census.running, "queues": depth}


def totals(news: dict[str, Any]) -> dict[str, Any]:
    """What everybody may know: numbers without names."""
    return {name: value for name, value in news.items() if isinstance(value, int)}
