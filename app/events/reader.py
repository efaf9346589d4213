"""The receiving side, for asyncio: one connection for an API process, shared by all who wait there.

Silence means nothing: a dropped connection is retried for ever and what was published in between is lost, so
waiters also look into Postgres now and then (services/predictions/follow.py).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import orjson
import redis.asyncio as redis
import structlog

from app.events import channels
from app.events.channels import ChunkFrame
from app.events.chunk_subscription import QUEUE_LIMIT, ChunkSubscription, EndWaiter

log = structlog.get_logger(__name__)

RECONNECT_SECONDS = 0.5
RESUBSCRIBE_SECONDS = 3.0  # after Redis came back: by then every process has subscribed again for its readers
READER_LOOKS = (0.0, 0.05, 0.5)  # pauses in seconds before each look whether anybody still reads
PING_SECONDS = 1.0  # a stopped Redis closes no connection: only its silence tells
SILENT_SECONDS = 3.0
REMEMBERED = 20_000  # latest ends: a quick model may be done before its caller begins to wait


class EventReader:
    """`start` once, `close` at the end. `healthy`: whether the subscription to Redis stands right now."""

    def __init__(self, redis_url: str) -> None:
        # No read timeout on the subscribed connection, where silence is normal: it is pinged. No retries of
        # redis-py's own, which would subscribe again without a word and hide that something was missed.
        self._subscriber: Any = redis.Redis.from_url(
            redis_url, socket_timeout=None, socket_connect_timeout=2, socket_keepalive=True, retry=None
        )
        self._client: Any = redis.Redis.from_url(
            redis_url, socket_timeout=2, socket_connect_timeout=1, max_connections=64, retry=None
        )
        self._pubsub: Any = self._subscriber.pubsub()
        self._end_waiters: dict[str, list[EndWaiter]] = {}
        self._ended_lately: dict[str, None] = {}
        self._live: dict[str, set[ChunkSubscription]] = {}
        self._task: asyncio.Task[None] | None = None
        self.on_state_changes: Callable[[list[list[str]]], None] = lambda changes: None
        self.healthy = False
        self._resubscribed_at = 0.0
        self._message_at = 0.0

    def start(self) -> None:
        self._task = asyncio.create_task(self._subscribe_for_ever())

    async def _subscribe_for_ever(self) -> None:
        while True:
            receiving = asyncio.ensure_future(self._receive_all())
            try:
                await self._ping(receiving)
            except (redis.RedisError, OSError) as error:
                if self.healthy:
                    log.warning("events_unreachable", reason=str(error))
                self.healthy = False
                self._wake_everyone()
            finally:
                receiving.cancel()
                await asyncio.wait({receiving})
            await self._reconnect()

    async def _receive_all(self) -> None:
        await self._pubsub.subscribe(
            channels.ENDED, channels.STATE_CHANGES, *map(channels.live, tuple(self._live))
        )
        while True:
            message = await self._pubsub.get_message(ignore_subscribe_messages=True, timeout=None)
            self._message_at = time.monotonic()
            if not self.healthy:
                self.healthy = True
                self._resubscribed_at = time.monotonic() + RESUBSCRIBE_SECONDS
                self._wake_everyone()
            if message is not None and message["type"] == "message":
                self._on_message(message["channel"].decode(), message["data"])

    def _on_message(self, channel: str, data: bytes) -> None:
        try:
            self._receive(channel, data)
        except Exception:  # a message of another release must not end the subscription
            log.exception("event_not_understood", channel=channel)

    async def _ping(self, receiving: "asyncio.Future[None]") -> None:
        """Raises what `receiving` raises, and a ConnectionError when Redis answers no ping."""
        self._message_at = time.monotonic()
        while not (await asyncio.wait({receiving}, timeout=PING_SECONDS))[0]:
            silence = time.monotonic() - self._message_at
            if silence > SILENT_SECONDS:
                raise redis.ConnectionError(f"no answer for {silence:.0f} s")
            if self.healthy and silence > PING_SECONDS / 2:
                await self._pubsub.ping()
        receiving.result()

    async def _reconnect(self) -> None:
        with suppress(redis.RedisError, OSError):
            await self._pubsub.aclose()
        self._pubsub = self._subscriber.pubsub()
        await asyncio.sleep(RECONNECT_SECONDS)

    def _wake_everyone(self) -> None:
        """After a gap nobody knows what was missed: every reader looks again."""
        for subscriptions in self._live.values():
            for subscription in subscriptions:
                subscription.put(None)

    def _receive(self, channel: str, data: bytes) -> None:
        if channel == channels.ENDED:
            ended = orjson.loads(data)
            endings = ended if isinstance(ended, dict) else dict.fromkeys(ended)  # ids: of an old process
            for prediction_id, ending in endings.items():
                self._on_end(prediction_id, ending)
        elif channel == channels.STATE_CHANGES:
            self.on_state_changes(orjson.loads(data))
        else:
            frame = ChunkFrame.decode(data)
            for subscription in self._live.get(channel.rpartition(":")[2], ()):
                subscription.put(frame)

    def _on_end(self, prediction_id: str, ending: str | None) -> None:
        self._ended_lately[prediction_id] = None
        if len(self._ended_lately) > REMEMBERED:
            del self._ended_lately[next(iter(self._ended_lately))]
        for waiter in self._end_waiters.get(prediction_id, ()):
            waiter.set(ending)
        for subscription in self._live.get(prediction_id, ()):
            subscription.put(None)

    def readers(self) -> tuple[int, int]:
        """How many follow a stream, and how many wait for an end. May be called from any thread."""
        return sum(map(len, tuple(self._live.values()))), sum(map(len, tuple(self._end_waiters.values())))

    @contextmanager
    def until_done(self, prediction_id: str) -> Iterator[EndWaiter]:
        """Set when the prediction's end is published, or already if it was just before."""
        waiter = EndWaiter()
        if prediction_id in self._ended_lately:
            waiter.set()
        self._end_waiters.setdefault(prediction_id, []).append(waiter)
        try:
            yield waiter
        finally:
            waiters = self._end_waiters[prediction_id]
            waiters.remove(waiter)
            if not waiters:
                del self._end_waiters[prediction_id]

    @contextmanager
    def live(self, prediction_id: str) -> Iterator[ChunkSubscription]:
        """This prediction's chunks as they come. `subscribe` must be awaited before relying on it."""
        subscription = ChunkSubscription()
        self._live.setdefault(prediction_id, set()).add(subscription)
        try:
            yield subscription
        finally:
            subscriptions = self._live[prediction_id]
            subscriptions.discard(subscription)
            if not subscriptions:
                del self._live[prediction_id]
                self._unsubscribing = asyncio.ensure_future(self._unsubscribe_if_unread(prediction_id))

    async def subscribe(self, prediction_id: str) -> None:
        """To a prediction's channel; does nothing while Redis is away (the reconnect subscribes to all)."""
        if not self.healthy:
            return
        with suppress(redis.RedisError, OSError):
            await self._pubsub.subscribe(channels.live(prediction_id))

    async def _unsubscribe_if_unread(self, prediction_id: str) -> None:
        if prediction_id not in self._live:
            with suppress(redis.RedisError, OSError):
                await self._pubsub.unsubscribe(channels.live(prediction_id))

    async def nobody_reads(self, prediction_id: str) -> bool:
        """Whether no API process reads this prediction's chunks any more. False also when Redis cannot say.

        Redis is asked more than once: our own leaving may reach it after the first question, which takes
        another connection.
        """
        for pause in READER_LOOKS:
            await asyncio.sleep(max(pause, self._resubscribed_at - time.monotonic()))
            if prediction_id in self._live:
                return False
            with suppress(redis.RedisError, OSError):
                await self._pubsub.unsubscribe(channels.live(prediction_id))
                [(_, count)] = await self._client.pubsub_numsub(channels.live(prediction_id))
                if self.healthy and count == 0:
                    return True
        return False

    async def kept(self, prediction_id: str) -> AsyncIterator[list[ChunkFrame]]:
        """The chunks that Redis still has, oldest first, in groups; nothing when it is away."""
        last = "-"
        while self.healthy:
            try:
                entries = await self._client.xrange(channels.kept(prediction_id), min=last, count=QUEUE_LIMIT)
            except (redis.RedisError, OSError):
                return
            yield [ChunkFrame.decode(fields[b"f"]) for _, fields in entries]
            if len(entries) < QUEUE_LIMIT:
                return
            last = "(" + entries[-1][0].decode()

    async def close(self) -> None:
        """Ends the connection; waiters are woken."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._wake_everyone()
        await self._pubsub.aclose()
        await self._subscriber.aclose()
        await self._client.aclose()
