"""The receiving side, for asyncio: one connection for an API process, shared by all who wait there.

Silence means nothing: a dropped connection is retried for ever and news in between is lost, so waiters also
look into Postgres now and then (services/predictions/follow.py).
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import orjson
import redis.asyncio as redis
import structlog

from app.events import channels
from app.events.channels import ChunkFrame

log = structlog.get_logger(__name__)

RECONNECT_SECONDS = 0.5
SETTLE_SECONDS = 3.0  # after Redis came back: by then every process listens again to what it has readers of
LEAVING_LOOKS = (0.0, 0.05, 0.5)  # pauses in seconds
PING_SECONDS = 1.0  # a stopped Redis closes no connection: only its silence tells
SILENT_SECONDS = 3.0
REMEMBERED = 20_000  # ends heard of lately: a quick model may be done before its caller begins to wait
QUEUE_LIMIT = 1_000  # frames held for one slow reader; past it the reader re-reads what was kept


class Sleeper:
    """Sleeps until it is woken or time is up: one timer of the loop's own. asyncio.timeout around a queue or
    an event costs as much as sending what is waited for."""

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None

    async def sleep(self, seconds: float) -> None:
        """Used by one task."""
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(seconds, self.wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            timer.cancel()

    def wake(self) -> None:
        """Nothing, when nobody sleeps."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class ChunkSubscription:
    """One reader's frames, bounded: when it is full it is emptied, and the reader is told to look again."""

    def __init__(self) -> None:
        self._frames: deque[ChunkFrame] = deque()
        self._look = False
        self._sleeper = Sleeper()

    def put(self, frame: ChunkFrame | None) -> None:
        """None means: look again (the end, a gap)."""
        if frame is None or len(self._frames) >= QUEUE_LIMIT:
            self._look = True
        if len(self._frames) >= QUEUE_LIMIT:
            self._frames.clear()
        elif frame is not None:
            self._frames.append(frame)
        self._sleeper.wake()

    async def take(self, seconds: float) -> tuple[list[ChunkFrame], bool]:
        """Everything that has come, waiting for `seconds` at most, and whether to look again; ([], False):
        silence."""
        if not self._frames and not self._look:
            await self._sleeper.sleep(seconds)
        frames, look = list(self._frames), self._look
        self._frames.clear()
        self._look = False
        return frames, look


class EndWaiter:
    """One who waits for a prediction's end. `told`: how it ended (`channels.ending`), where that was said."""

    def __init__(self) -> None:
        self.ending: str | None = None
        self._announced = False
        self._sleeper = Sleeper()

    def set(self, ending: str | None = None) -> None:
        """The end was announced."""
        self.ending, self._announced = ending, True
        self._sleeper.wake()

    async def wait(self, seconds: float) -> bool:
        """Whether the end was announced, now or within `seconds`."""
        if not self._announced:
            await self._sleeper.sleep(seconds)
        return self._announced


class EventReader:
    """`start` once, `close` at the end. `healthy` says whether Redis is being listened to right now."""

    def __init__(self, redis_url: str) -> None:
        # No read timeout on the listening connection, where silence is normal: it is pinged. No retries of
        # redis-py's own, which would subscribe again without a word and hide that something was missed.
        self._listener: Any = redis.Redis.from_url(
            redis_url, socket_timeout=None, socket_connect_timeout=2, socket_keepalive=True, retry=None
        )
        self._client: Any = redis.Redis.from_url(
            redis_url, socket_timeout=2, socket_connect_timeout=1, max_connections=64, retry=None
        )
        self._pubsub: Any = self._listener.pubsub()
        self._done: dict[str, list[EndWaiter]] = {}
        self._lately: dict[str, None] = {}
        self._live: dict[str, set[ChunkSubscription]] = {}
        self._task: asyncio.Task[None] | None = None
        self.on_state_changes: Callable[[list[list[str]]], None] = lambda changes: None
        self.healthy = False
        self._settled_at = 0.0
        self._message_at = 0.0

    def start(self) -> None:
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while True:
            receiving = asyncio.ensure_future(self._receive_all())
            try:
                await self._watch(receiving)
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
            channels.DONE, channels.STATE_CHANGES, *(channels.live(one) for one in self._live)
        )
        while True:
            message = await self._pubsub.get_message(ignore_subscribe_messages=True, timeout=None)
            self._message_at = time.monotonic()
            if not self.healthy:
                self.healthy, self._settled_at = True, time.monotonic() + SETTLE_SECONDS
                self._wake_everyone()
            if message is not None and message["type"] == "message":
                self._on_message(message["channel"].decode(), message["data"])

    def _on_message(self, channel: str, data: bytes) -> None:
        """What another version of Lovage says must not make this process deaf."""
        try:
            self._receive(channel, data)
        except Exception:  # a message of another release must not end the subscription
            log.exception("news_not_understood", channel=channel)

    async def _watch(self, receiving: "asyncio.Future[None]") -> None:
        """Raises what `hearing` raises, and a ConnectionError when Redis answers no ping."""
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
        self._pubsub = self._listener.pubsub()
        await asyncio.sleep(RECONNECT_SECONDS)

    def _wake_everyone(self) -> None:
        """After a gap nobody knows what was missed: every reader looks again."""
        for subscriptions in self._live.values():
            for subscription in subscriptions:
                subscription.put(None)

    def _receive(self, channel: str, data: bytes) -> None:
        if channel == channels.DONE:
            said = orjson.loads(data)
            endings = (
                said if isinstance(said, dict) else dict.fromkeys(said)
            )  # ids alone: from an older process
            for prediction_id, ending in endings.items():
                self._remember(prediction_id)
                for waiter in self._done.get(prediction_id, ()):
                    waiter.set(ending)
                for subscription in self._live.get(prediction_id, ()):
                    subscription.put(None)
            return
        if channel == channels.STATE_CHANGES:
            self.on_state_changes(orjson.loads(data))
            return
        frame = ChunkFrame.decode(data)
        for subscription in self._live.get(channel.rpartition(":")[2], ()):
            subscription.put(frame)

    def _remember(self, prediction_id: str) -> None:
        self._lately[prediction_id] = None
        if len(self._lately) > REMEMBERED:
            del self._lately[next(iter(self._lately))]

    def readers(self) -> tuple[int, int]:
        """How many follow a stream, and how many wait for an end. May be called from any thread."""
        return sum(map(len, tuple(self._live.values()))), sum(map(len, tuple(self._done.values())))

    @contextmanager
    def until_done(self, prediction_id: str) -> Iterator[EndWaiter]:
        """Set when the prediction's end is announced, or already if it was just before."""
        waiter = EndWaiter()
        if prediction_id in self._lately:
            waiter.set()
        self._done.setdefault(prediction_id, []).append(waiter)
        try:
            yield waiter
        finally:
            waiters = self._done[prediction_id]
            waiters.remove(waiter)
            if not waiters:
                del self._done[prediction_id]

    @contextmanager
    def live(self, prediction_id: str) -> Iterator[ChunkSubscription]:
        """This prediction's chunks as they come. `listen_to` must be awaited before relying on it."""
        subscription = ChunkSubscription()
        self._live.setdefault(prediction_id, set()).add(subscription)
        try:
            yield subscription
        finally:
            subscriptions = self._live[prediction_id]
            subscriptions.discard(subscription)
            if not subscriptions:
                del self._live[prediction_id]
                self._forget_soon(prediction_id)

    async def listen_to(self, prediction_id: str) -> None:
        """Subscribes to a prediction's channel; does nothing while Redis is away (the reconnect subscribes to
        all)."""
        if not self.healthy:
            return
        with suppress(redis.RedisError, OSError):
            await self._pubsub.subscribe(channels.live(prediction_id))

    async def nobody_reads(self, prediction_id: str) -> bool:
        """Whether no API process reads this prediction's chunks any more. False also when Redis cannot tell.

        Asked more than once: our own leaving may reach Redis after the first question, which takes another
        connection.
        """
        for pause in LEAVING_LOOKS:
            await asyncio.sleep(max(pause, self._settled_at - time.monotonic()))
            if prediction_id in self._live:
                return False
            with suppress(redis.RedisError, OSError):
                await self._pubsub.unsubscribe(channels.live(prediction_id))
                [(_, count)] = await self._client.pubsub_numsub(channels.live(prediction_id))
                if self.healthy and count == 0:
                    return True
        return False

    def _forget_soon(self, prediction_id: str) -> None:
        async def forget() -> None:
            if prediction_id not in self._live:
                with suppress(redis.RedisError, OSError):
                    await self._pubsub.unsubscribe(channels.live(prediction_id))

        self._forgetting = asyncio.ensure_future(forget())

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
        await self._listener.aclose()
        await self._client.aclose()
