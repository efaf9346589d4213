"""Rings the doorbell off the request path: callers hand over ids and go on; one thread sends whatever waits in one pipeline.

A message that cannot be sent is kept and tried again while there is room, then dropped and counted: workers that find
nothing rung look into Postgres themselves, so a dropped message delays a prediction by a second or two and loses nothing.
"""

import threading
from collections import deque
from collections.abc import Iterable

import redis
import structlog

from app.queue import messages, names

log = structlog.get_logger(__name__)

HELD_AT_MOST = 200_000  # ids, some 100 bytes each: what an outage may hold in memory
GROUP = 1_000
RETRY_SECONDS = 0.5

Ring = tuple[str, str, str]  # queue, task, id


class Publisher:
    """Thread-safe; `start` once, `close` at the end. `dropped` counts rings that were given up."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(
            redis_url, socket_timeout=2, socket_connect_timeout=1, retry=None, health_check_interval=10
        )
        self._waiting: deque[Ring] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self.dropped = 0
        self.failing = False
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ring(self, rings: Iterable[tuple[str, str]]) -> None:
        """Announces predictions: pairs of (queue, id). Returns at once and never raises."""
        self._add((queue, names.TASK_PREDICT, prediction_id) for queue, prediction_id in rings)

    def ring_deliveries(self, ids: Iterable[str]) -> None:
        """Announces webhook deliveries to the couriers."""
        self._add((names.WEBHOOKS, names.TASK_DELIVER, delivery_id) for delivery_id in ids)

    def _add(self, rings: Iterable[Ring]) -> None:
        with self._wake:
            for ring in rings:
                if len(self._waiting) >= HELD_AT_MOST:
                    self.dropped += 1
                else:
                    self._waiting.append(ring)
            self._wake.notify()

    def _run(self) -> None:
        while group := self._next_group():
            try:
                self._send(group)
                self._recovered()
            except redis.RedisError as error:
                self._failed(group, error)
            except Exception:  # one that cannot be said must not silence all that come after it
                self.dropped += len(group)
                log.exception("doorbells_broken", count=len(group))

    def _next_group(self) -> list[Ring]:
        with self._wake:
            self._wake.wait_for(lambda: self._waiting or self._closing)
            return [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]

    def _send(self, group: list[Ring]) -> None:
        by_queue: dict[str, list[str]] = {}
        for queue, task, message_id in group:
            by_queue.setdefault(queue, []).append(messages.about(task, message_id, queue))
        pipeline = self._redis.pipeline(transaction=False)
        for queue, bodies in by_queue.items():
            pipeline.lpush(names.KEY_PREFIX + queue, *bodies)
        pipeline.execute()

    def _failed(self, group: list[Ring], error: redis.RedisError) -> None:
        if not self.failing:
            log.warning("redis_unreachable", waiting=len(self._waiting) + len(group), reason=str(error))
        self.failing = True
        with self._wake:
            if self._closing:
                self.dropped += len(group)
                return
            self._waiting.extendleft(reversed(group))
            while len(self._waiting) > HELD_AT_MOST:
                self._waiting.pop()
                self.dropped += 1
            self._wake.wait_for(lambda: self._closing, RETRY_SECONDS)

    def _recovered(self) -> None:
        if self.failing:
            self.failing = False
            log.info("redis_reachable_again", dropped=self.dropped)

    def close(self, timeout: float = 3.0) -> None:
        """Sends what waits, for at most `timeout` seconds."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join(timeout)
        self._redis.close()
