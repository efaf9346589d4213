"""Rings the doorbell off the request path: callers hand over ids and go on, and never wait for Redis.

A message that cannot be sent is kept and tried again while there is room, then dropped and counted: workers that find
nothing rung look into Postgres themselves, so a dropped message delays a prediction by a second or two and loses nothing.
News of what was rung for goes out behind the bells, so that no worker's news of the same prediction overtakes it.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson
import redis
import structlog

from app.coalesce import take
from app.queue import messages, names
from app.redis_sender import Command, RedisSender

log = structlog.get_logger(__name__)

HELD_AT_MOST = 200_000  # ids, some 100 bytes each: what an outage may hold in memory
GROUP = 1_000
RETRY_SECONDS = 0.5

Ring = tuple[str, str, str]  # queue, task, id


@dataclass(frozen=True, slots=True)
class Rung:
    """What is sent at once."""

    rings: list[Ring]
    news: list[Any]


class Publisher(RedisSender[Rung]):
    """`dropped` counts rings that were given up. `news_channel`: where news is published, as JSON lists; what Redis does not take
    of it is dropped."""

    def __init__(self, redis_url: str, news_channel: str) -> None:
        super().__init__(redis_url, "publisher")
        self._news_channel = news_channel
        self._waiting: deque[Ring] = deque()
        self._news: deque[Any] = deque(maxlen=HELD_AT_MOST)
        self.dropped = 0
        self.failing = False

    def ring(self, rings: Iterable[tuple[str, str]], news: Iterable[Any] = ()) -> None:
        """Announces predictions: pairs of (queue, id). Returns at once and never raises."""
        self._add(((queue, names.TASK_PREDICT, prediction_id) for queue, prediction_id in rings), news)

    def ring_deliveries(self, ids: Iterable[str]) -> None:
        """Announces webhook deliveries to the couriers."""
        self._add((names.WEBHOOKS, names.TASK_DELIVER, delivery_id) for delivery_id in ids)

    def _add(self, rings: Iterable[Ring], news: Iterable[Any] = ()) -> None:
        with self._wake:
            self._news.extend(news)
            for ring in rings:
                if len(self._waiting) >= HELD_AT_MOST:
                    self.dropped += 1
                else:
                    self._waiting.append(ring)
            mine = self._own_turn()
        self._send(mine)

    def _has_some(self) -> bool:
        return bool(self._waiting)

    def _take(self) -> Rung | None:
        return Rung(take(self._waiting, GROUP), take(self._news, HELD_AT_MOST)) if self._waiting else None

    def _commands(self, group: Rung) -> list[Command]:
        by_queue: dict[str, list[str]] = {}
        for queue, task, message_id in group.rings:
            by_queue.setdefault(queue, []).append(messages.about(task, message_id, queue))
        commands: list[Command] = [("LPUSH", names.KEY_PREFIX + queue, *bodies) for queue, bodies in by_queue.items()]
        return [*commands, ("PUBLISH", self._news_channel, orjson.dumps(group.news))] if group.news else commands

    def _taken(self) -> None:
        if self.failing:
            self.failing = False
            log.info("redis_reachable_again", dropped=self.dropped)

    def _lost(self, group: Rung, error: redis.RedisError) -> None:
        if not self.failing:
            log.warning("redis_unreachable", waiting=len(self._waiting) + len(group.rings), reason=str(error))
        self.failing = True
        with self._wake:
            if self._closing:
                self.dropped += len(group.rings)
                return
            self._waiting.extendleft(reversed(group.rings))
            while len(self._waiting) > HELD_AT_MOST:
                self._waiting.pop()
                self.dropped += 1
            self._wake.wait_for(lambda: self._closing, RETRY_SECONDS)
            self._news.clear()  # what came later may have been told already

    def _broken(self, group: Rung) -> None:
        self.dropped += len(group.rings)
        log.exception("doorbells_broken", count=len(group.rings))
