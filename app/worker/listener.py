"""Hears over Redis what is said to workers: which predictions to stop, which versions to load or let go. A cancel that is missed
here comes with the next heartbeat; an order is given again by whoever wants it."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import redis
import structlog

log = structlog.get_logger(__name__)

RECONNECT_SECONDS = 1.0


class Listener:
    """A thread of its own. `ears`: what to do with a message, by channel."""

    def __init__(self, redis_url: str, ears: Mapping[str, Callable[[bytes], None]]) -> None:
        self._redis: Any = redis.Redis.from_url(redis_url, socket_connect_timeout=2, socket_timeout=None, socket_keepalive=True)
        self._ears = ears
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._redis.pubsub(ignore_subscribe_messages=True) as line:
                    line.subscribe(*self._ears)
                    while not self._stop.is_set():
                        if message := line.get_message(timeout=1.0):
                            self._hear(message["channel"].decode(), message["data"])
            except (redis.RedisError, OSError):
                self._stop.wait(RECONNECT_SECONDS)

    def _hear(self, channel: str, data: bytes) -> None:
        try:
            self._ears[channel](data)
        except Exception:
            log.exception("message_not_understood", channel=channel)

    def stop(self) -> None:
        self._stop.set()
