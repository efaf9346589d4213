"""The circuit breakers of a gateway worker that are not closed, shared with the other gateway workers.

Nothing here is asked for a call to a backend that is healthy; while Redis is away each worker has breakers of
its own. Used from the event loop only.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import redis
import structlog

from app.backends.breaker import PERMIT_SECONDS, Breaker
from app.events.breaker_store import BreakerStore

log = structlog.get_logger(__name__)

Key = tuple[str, str]  # the backend's id, what the model is called there


class BreakerBoard:
    """`store` None: this worker's own breakers are all."""

    def __init__(self, store: BreakerStore | None = None, threads: Executor | None = None) -> None:
        self._store, self._threads = store, threads
        self.tripped: set[Key] = set()
        self._asking: set[Key] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns: dict[Key, asyncio.Lock] = {}  # what is sent of one breaker arrives in this order

    @property
    def worker(self) -> str:
        """By which the store knows this one."""
        return self._store.worker if self._store else ""

    def new_breaker(self) -> Breaker:
        return Breaker(is_shared=self._store is not None)

    def on_opened(self, key: Key, breaker: Breaker) -> None:
        """By a failure here."""
        self.tripped.add(key)
        if self._store:
            rest = breaker.rest
            self._begin(self._send(key, self._store.open, rest, time.time() + rest))

    def on_closed(self, key: Key) -> None:
        """By a success here."""
        self.tripped.discard(key)
        if self._store:
            self._begin(self._send(key, self._store.close))

    def on_inconclusive(self, key: Key) -> None:
        """A try here has said nothing."""
        if self._store:
            self._begin(self._send(key, self._store.release_try))

    def ask_to_try(self, key: Key, breaker: Breaker, on_permitted: Callable[[], None]) -> None:
        """Has one of all gateway workers try it, when it is time."""
        if self._store and key not in self._asking and breaker.needs_permit(time.monotonic()):
            self._asking.add(key)
            self._begin(self._ask(self._store, key, breaker, on_permitted))

    async def _ask(
        self, store: BreakerStore, key: Key, breaker: Breaker, on_permitted: Callable[[], None]
    ) -> None:
        try:
            if await self._send(key, store.claim_try) is not False:  # None: Redis is away
                breaker.permit(time.monotonic())
                asyncio.get_running_loop().call_later(PERMIT_SECONDS, self._release_unused, key, breaker)
                on_permitted()
        finally:
            self._asking.discard(key)

    def _release_unused(self, key: Key, breaker: Breaker) -> None:
        """What was to try it may have been canceled meanwhile, or have gone elsewhere: others need not wait
        until the try's time is over."""
        if breaker.drop_unused_permit(time.monotonic()):
            self.on_inconclusive(key)

    async def read(self, backend: str) -> list[tuple[str, float, float]]:
        """What is open of a backend: model, rest, and the seconds that are left of it."""
        stored = await self._call(self._store.read, backend) if self._store else None
        now = time.time()
        return [(model, rest, until - now) for model, (rest, until) in (stored or {}).items()]

    async def _send(self, key: Key, function: Callable[..., Any], *args: Any) -> Any:
        """A word about one breaker. One that ends a try must not come after the claim of the next: it would
        free what this worker still holds."""
        async with self._turns.setdefault(key, asyncio.Lock()):
            return await self._call(function, *key, *args)

    async def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        """None when Redis is away."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)
        except (redis.RedisError, OSError) as error:
            log.warning("breaker_not_shared", reason=str(error))
            return None

    def _begin(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
