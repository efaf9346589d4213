"""A circuit breaker for one model of one backend: after failures in a row nothing is sent there for a while,
then one call tries it. Times are monotonic seconds that the caller passes in; no thread, no clock."""

from enum import Enum

FAILURES = 5  # in a row
FIRST_REST_SECONDS = 5.0
LONGEST_REST_SECONDS = 120.0


class BreakerState(Enum):
    """CLOSED: all calls pass. OPEN: none does. HALF_OPEN: one is under way, and decides."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Every call that `allows` let through ends with `on_success`, `on_failure` or `on_inconclusive`."""

    __slots__ = ("_failures", "_is_trying", "_rest", "_until")

    def __init__(self) -> None:
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
        return not self._rest or (now >= self._until and not self._is_trying)

    def on_call(self) -> None:
        """A call is made."""
        self._is_trying = self._rest > 0

    def on_success(self) -> None:
        self._failures, self._rest = 0, 0.0
        self._is_trying = False

    def on_failure(self, now: float) -> None:
        """Of the backend, not of the caller."""
        self._failures += 1
        if self._rest and not self._is_trying:
            return  # a late one, of a call that was made before it opened
        if self._is_trying or self._failures >= FAILURES:
            self._rest = min(LONGEST_REST_SECONDS, self._rest * 2 or FIRST_REST_SECONDS)
            self._until, self._is_trying = now + self._rest, False

    def on_inconclusive(self) -> None:
        """The call was canceled, or its input was wrong: it says nothing of the backend."""
        self._is_trying = False

    def opens_in(self, now: float) -> float:
        """Seconds until it lets a call through."""
        return max(0.0, self._until - now) if self._rest else 0.0
