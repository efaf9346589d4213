"""A circuit breaker for one model of one backend: after failures in a row nothing is sent there for a while,
then one call tries it. Times are monotonic seconds that the caller passes in; no thread, no clock."""

from enum import Enum

FAILURES = 5  # in a row
FIRST_REST_SECONDS = 5.0
LONGEST_REST_SECONDS = 120.0
# In which the call that was permitted is made, and for which a process whose permit went unused asks for no
# other: two looks of those that wait in the other processes (backend_pool.LOOK_SECONDS).
PERMIT_SECONDS = 1.0


class BreakerState(Enum):
    """CLOSED: all calls pass. OPEN: none does. HALF_OPEN: one is under way, and decides."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Every call that `allows` let through ends with `on_success`, `on_failure` or `on_inconclusive`. Of one
    that `is_shared` with other processes, one call of them all is permitted to try."""

    __slots__ = ("_asks_from", "_failures", "_is_shared", "_is_trying", "_permitted_until", "_rest", "_until")

    def __init__(self, *, is_shared: bool = False) -> None:
        self._is_shared = is_shared
        self._permitted_until = self._asks_from = 0.0
        self._failures = 0
        self._until = 0.0  # when an open one lets a call through
        self._rest = 0.0  # seconds; 0: closed
        self._is_trying = False

    def state(self, now: float) -> BreakerState:
        if not self._rest:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._is_trying or now >= self._until else BreakerState.OPEN

    def allows(self, now: float) -> bool:
        """Whether a call may be made now."""
        return not self._rest or (self._is_due(now) and (not self._is_shared or now < self._permitted_until))

    def _is_due(self, now: float) -> bool:
        return self._rest > 0 and now >= self._until and not self._is_trying

    def needs_permit(self, now: float) -> bool:
        """Whether it is time that one of all processes tries, and nobody has said that it is this one."""
        return self._is_shared and self._is_due(now) and now >= max(self._permitted_until, self._asks_from)

    def permit(self, now: float) -> None:
        """The next call here is the one that tries."""
        self._permitted_until = now + PERMIT_SECONDS

    def drop_unused_permit(self, now: float) -> bool:
        """Whether one was given whose time is over, and no call was made: the other processes are next."""
        is_unused = 0 < self._permitted_until <= now
        if is_unused:
            self._permitted_until, self._asks_from = 0.0, now + PERMIT_SECONDS
        return is_unused

    @property
    def rest(self) -> float:
        """Seconds for which it is open at a time; 0: it is closed."""
        return self._rest

    def on_call(self) -> None:
        """A call is made."""
        self._is_trying = self._rest > 0
        self._permitted_until = 0.0

    def on_success(self) -> bool:
        """Whether that closed it."""
        was_open, self._failures = self._rest > 0, 0
        self._rest, self._is_trying = 0.0, False
        return was_open

    def on_failure(self, now: float) -> bool:
        """Of the backend, not of the caller. Whether that opened it, or opened it anew."""
        self._failures += 1
        if self._rest and not self._is_trying:
            return False  # a late one, of a call that was made before it opened
        if not self._is_trying and self._failures < FAILURES:
            return False
        self._rest = min(LONGEST_REST_SECONDS, self._rest * 2 or FIRST_REST_SECONDS)
        self._until, self._is_trying = now + self._rest, False
        return True

    def on_inconclusive(self) -> bool:
        """The call was canceled, or its input was wrong: it says nothing of the backend. Whether it was one
        that tried."""
        was_trying, self._is_trying = self._is_trying, False
        return was_trying

    def follow(self, rest: float, left: float, now: float) -> None:
        """Another process has opened it for `left` more seconds, or, with `rest` 0, closed it. A try that is
        under way here decides for itself."""
        if rest <= 0:
            self._failures, self._rest = 0, 0.0
        elif not self._is_trying:
            self._rest, self._until = rest, now + left

    def opens_in(self, now: float) -> float:
        """Seconds until it lets a call through."""
        return max(0.0, self._until - now) if self._rest else 0.0
