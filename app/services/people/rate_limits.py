"""How often callers may call: moving windows over Redis (the library `limits`), shared by all API processes.

The request path never waits for Redis: it decides by what this process knows, and a thread of its own reports
to Redis what was let in and reads what is left, some twenty times a second. One process alone lets nobody
over; several together let a caller over by at most what they take in between two reports. While Redis is
away, each process counts for itself.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import RateLimiter, SlidingWindowCounterRateLimiter

from app import redis_client
from app.broker.names import KEY_PREFIX
from app.domain.errors import TooMany
from app.observe import metrics
from app.services.people.sliding_window import SlidingWindow

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")

REPORT_SECONDS = 0.05
REDIS_SECONDS = 0.5  # for one answer; only the reporting thread waits for it
AWAY_SECONDS = 2.0  # after a failure Redis is not asked for so long
KEPT = 20_000  # callers remembered; the ones that have been quiet for longest are forgotten


def parse_limit(text: str) -> RateLimitItem | None:
    """A limit such as `600/minute`; None for an empty text. Raises ValueError."""
    return parse(text) if text.strip() else None


class Windows:
    """Counts in Redis, or in this process's memory while Redis is away. Blocks; thread-safe."""

    def __init__(self, redis_url: str, strategy: type[RateLimiter] = SlidingWindowCounterRateLimiter) -> None:
        options: dict[str, Any] = {
            "socket_timeout": REDIS_SECONDS,
            "socket_connect_timeout": REDIS_SECONDS,
            "connection_class": redis_client.connection_class(redis_url),
        }
        self._shared = strategy(
            RedisStorage(redis_url, key_prefix=f"{KEY_PREFIX}limits", wrap_exceptions=False, **options)
        )
        self._own = strategy(MemoryStorage())
        self._away_until = 0.0

    def count_up_to(self, limit: RateLimitItem, name: str, count: int) -> SlidingWindow:
        """Counts `count` more, as far as the limit allows. For sliding windows only."""
        return self._call(lambda windows: _count_up_to(windows, limit, name, count))

    def free_at(self, limit: RateLimitItem, name: str) -> float:
        """The Unix time when all is free again. For fixed windows only."""
        return self._call(lambda windows: float(windows.get_window_stats(limit, name).reset_time))

    def enter(self, limit: RateLimitItem, name: str) -> bool:
        """One more, if the limit allows: checked and counted in one step."""
        return self._call(lambda windows: bool(windows.hit(limit, name)))

    def undo_enter(self, limit: RateLimitItem, name: str) -> None:
        """Takes one `enter` back, whether it was let in or not. For fixed windows only."""
        self._call(lambda windows: windows.storage.incr(limit.key_for(name), limit.get_expiry(), -1))

    def mark(self, name: str, seconds: int) -> None:
        """Remembers a name for so long; one that is remembered already keeps its time."""
        self._call(lambda windows: windows.storage.incr(name, seconds))

    def is_marked(self, name: str) -> bool:
        """Whether the name is remembered."""
        return self._call(lambda windows: bool(windows.storage.get(name)))

    def _call(self, operation: Callable[[RateLimiter], Answer]) -> Answer:
        if time.monotonic() >= self._away_until:
            try:
                return operation(self._shared)
            except Exception as error:  # noqa: BLE001 - `limits` passes all errors of Redis on
                log.warning("limits_without_redis", reason=str(error)[:200])
                self._away_until = time.monotonic() + AWAY_SECONDS
        return operation(self._own)


def _count_up_to(windows: RateLimiter, limit: RateLimitItem, name: str, count: int) -> SlidingWindow:
    if count and not windows.hit(limit, name, cost=count):
        left = _look(windows, limit, name).left(time.time())
        if left:
            windows.hit(limit, name, cost=min(left, count))
    return _look(windows, limit, name)


def _look(windows: RateLimiter, limit: RateLimitItem, name: str) -> SlidingWindow:
    storage: Any = windows.storage  # both kinds that are used here have sliding windows
    seconds, now = limit.get_expiry(), time.time()
    previous, previous_left, current, current_left = storage.get_sliding_window(limit.key_for(name), seconds)
    return SlidingWindow(limit.amount, seconds, previous, now + previous_left, current, now + current_left)


@dataclass(slots=True)
class _CallerCount:
    """What this process knows of one caller: the `window` as of the last report, `pending` let in since."""

    window: SlidingWindow
    pending: int = 0

    def after(self, now: float) -> SlidingWindow:
        return self.window.with_more(self.pending, now) if self.pending else self.window


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a caller stands after a call, for the headers."""

    policy: str
    amount: int
    window: int
    left: int
    seconds: int

    def headers(self) -> list[tuple[bytes, bytes]]:
        """RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10), and the two that
        Replicate sends."""
        return [
            (b"ratelimit-policy", f'"{self.policy}";q={self.amount};w={self.window}'.encode()),
            (b"ratelimit", f'"{self.policy}";r={self.left};t={self.seconds}'.encode()),
            (b"ratelimit-remaining", str(self.left).encode()),
            (b"ratelimit-reset", str(self.seconds).encode()),
        ]


class RateLimits:
    """One for each API process. `limits` maps a policy's name to its limit; a policy without one is not
    limited."""

    def __init__(self, windows: Windows, limits: dict[str, RateLimitItem | None]) -> None:
        self._windows = windows
        self._limits = {name: limit for name, limit in limits.items() if limit}
        self._counts: dict[tuple[str, str], _CallerCount] = {}
        self._due: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._some, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="limits", daemon=True)
        if self._limits:
            self._thread.start()

    def count(self, policy: str, caller: str, amount: int = 1) -> Standing | None:
        """So many more calls, or none of them. None when the policy is off. Raises TooManyCalls with the
        seconds until more are allowed."""
        limit = self._limits.get(policy)
        if limit is None:
            return None
        now, name = time.time(), (policy, caller)
        with self._lock:
            counted = self._counts.get(name) or self._remember(name, limit)
            self._due.add(name)
            window = counted.after(now)
            free = window.left(now)
            if free >= amount:
                counted.pending += amount
                window = counted.after(now)
        self._some.set()
        # Until it is let in, or of one that is: until more are left than now.
        more = amount if free < amount else free - amount + 1
        seconds = max(1, math.ceil(window.seconds_until(more, now)))
        standing = Standing(policy, limit.amount, int(limit.get_expiry()), max(0, free - amount), seconds)
        if free < amount:
            metrics.RATE_LIMITED.labels(policy).inc()
            raise TooManyCalls(standing)
        return standing

    def _remember(self, name: tuple[str, str], limit: RateLimitItem) -> _CallerCount:
        if len(self._counts) >= KEPT:
            for old in list(self._counts)[: KEPT // 2]:
                if not self._counts[old].pending:
                    del self._counts[old]
        counted = self._counts[name] = _CallerCount(SlidingWindow(limit.amount, limit.get_expiry()))
        return counted

    def _run(self) -> None:
        while not self._closing.is_set():
            self._some.wait()
            self._closing.wait(REPORT_SECONDS)
            self._some.clear()
            try:
                self._report()
            except Exception:  # one bad report must not end the reports
                log.exception("limits_broken")

    def _report(self) -> None:
        with self._lock:
            due, self._due = self._due, set()
            pending = {name: self._counts[name].pending for name in due if name in self._counts}
        for (policy, caller), count in pending.items():
            window = self._windows.count_up_to(self._limits[policy], caller, count)
            with self._lock:
                if counted := self._counts.get((policy, caller)):  # it may have been forgotten meanwhile
                    counted.window = window
                    counted.pending -= count

    def close(self) -> None:
        self._closing.set()
        self._some.set()


class TooManyCalls(TooMany):
    """Over a rate limit; `standing` goes into the headers."""

    code = "rate_limited"

    def __init__(self, standing: Standing) -> None:
        sentence = (
            f"Too many requests: {standing.amount} in {standing.window} s are allowed. Try again in"
            f" {standing.seconds} s."
        )
        super().__init__(sentence, retry_after=standing.seconds)
        self.standing = standing
