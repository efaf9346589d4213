"""Hears over Redis which predictions are to be stopped; what is missed here comes with the next heartbeat."""

import threading
from collections.abc import Callable
from typing import Any

import orjson
import redis
import structlog

from app.events import channels

log = structlog.get_logger(__name__)

RECONNECT_SECONDS = 1.0


class CancelListener:
    """A thread of its own."""

    def __init__(self, redis_url: str, cancel: Callable[[list[str]], None]) -> None:
        self._redis: Any = redis.Redis.from_url(redis_url, socket_connect_timeout=2, socket_timeout=None, socket_keepalive=True)
        self._cancel = cancel
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cancels", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._redis.pubsub(ignore_subscribe_messages=True) as listener:
                    listener.subscribe(channels.CANCEL)
                    while not self._stop.is_set():
                        if message := listener.get_message(timeout=1.0):
                            self._cancel(orjson.loads(message["data"]))
            except (redis.RedisError, OSError):
                self._stop.wait(RECONNECT_SECONDS)

    def stop(self) -> None:
        self._stop.set()
