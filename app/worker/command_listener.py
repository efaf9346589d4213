"""Subscribes to what is sent to workers over Redis: which predictions to stop, which versions to load or
unload. A cancel that is missed here comes with the next heartbeat; a model command is sent again by whoever
wants it."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import redis
import structlog

log = structlog.get_logger(__name__)

RECONNECT_SECONDS = 1.0
POLL_SECONDS = 1.0


class CommandListener:
    """A thread of its own. `handlers`: what to do with a message, by channel."""

    def __init__(self, client: "redis.Redis", handlers: Mapping[str, Callable[[bytes], None]]) -> None:
        self._client: Any = client
        self._handlers = handlers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="command-listener", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as pubsub:
                    pubsub.subscribe(*self._handlers)
                    while not self._stop.is_set():
                        if message := pubsub.get_message(timeout=POLL_SECONDS):
                            self._handle(message["channel"].decode(), message["data"])
            except (redis.RedisError, OSError):
                self._stop.wait(RECONNECT_SECONDS)

    def _handle(self, channel: str, data: bytes) -> None:
        try:
            self._handlers[channel](data)
        except Exception:  # a message of another release must not end the subscription
            log.exception("message_not_understood", channel=channel)

    def stop(self) -> None:
        self._stop.set()
