"""How long a caller waits for a Postgres that is there and does not answer (stopped, or behind a network that
swallows).

libpq waits for ever for an answer, and no timeout of the server's helps when the server itself is stopped:
its kernel goes on acknowledging. So psycopg2 is given a wait of our own, and a unit of work an end. Once one
has run into it and nobody else was answered meanwhile, the circuit is open: everybody is refused at once,
while a thread asks until it is answered. So no caller waits for longer than that, behind however many others.
Knows psycopg2; knows no table and no pool.
"""

import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Any

import psycopg2
from psycopg2 import extensions

SECONDS = 2.2  # a caller has an answer within 3 s: this, one more try at connecting, and some to answer
AT_LEAST_SECONDS = 0.3  # for each answer, so that a thread that was not let run blames nobody
STATEMENT_SECONDS = (
    6.0  # of a statement that takes long while others are answered; Postgres itself ends it before
)
ASK_SECONDS = 0.25

_now = threading.local()


class State(Enum):
    """CLOSED: units of work go through. OPEN: they are refused, Postgres is silent. STOPPED: as CLOSED, and
    it never opens again: the process ends."""

    CLOSED = auto()
    OPEN = auto()
    STOPPED = auto()


class CircuitBreaker:
    """One for each process that serves callers. Thread-safe. `ask` asks Postgres something, and raises
    without an answer."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._state = State.CLOSED
        self._answered_at = float("-inf")
        self._lock = threading.Lock()
        extensions.set_wait_callback(_wait)

    @contextmanager
    def unit(self) -> Iterator[None]:
        """Around one unit of work. Raises psycopg2's OperationalError where Postgres is silent."""
        if self._state is State.OPEN:
            raise psycopg2.OperationalError("Postgres does not answer")
        with self._limited():
            yield
        self._answered_at = time.monotonic()

    @contextmanager
    def _limited(self) -> Iterator[None]:
        before = getattr(_now, "limit", None)
        _now.limit = _Limit(self, time.monotonic())
        try:
            yield
        finally:
            _now.limit = before

    def on_timeout(self, began: float) -> None:
        """A unit that began then has waited in vain."""
        with self._lock:
            if self._state is not State.CLOSED or self.answered_since(began):
                return
            self._state = State.OPEN
        threading.Thread(target=self._ask_until_answered, name="ask-postgres", daemon=True).start()

    def _ask_until_answered(self) -> None:
        while self._state is State.OPEN:
            try:
                with self._limited():
                    self._ask()
            except Exception:  # noqa: BLE001 - whatever it is, Postgres has not answered
                time.sleep(ASK_SECONDS)
            else:
                break
        self._answered_at = time.monotonic()
        with self._lock:
            if self._state is State.OPEN:
                self._state = State.CLOSED

    def on_answer(self) -> None:
        """Postgres has refused something: it is there."""
        self._answered_at = time.monotonic()

    def answered_since(self, moment: float) -> bool:
        """Whether anybody was answered since."""
        return self._answered_at > moment

    def close(self) -> None:
        """Asks no more."""
        with self._lock:
            self._state = State.STOPPED


class _Limit:
    """The end of one unit's waiting."""

    def __init__(self, breaker: CircuitBreaker, began: float) -> None:
        self._breaker, self._began = breaker, began
        self._until = began + SECONDS

    def until(self, began: float) -> float:
        """When an answer that is waited for since `began` is given up."""
        if self._breaker.answered_since(began):
            return began + STATEMENT_SECONDS
        return max(self._until, began + AT_LEAST_SECONDS)

    def give_up(self) -> None:
        self._breaker.on_timeout(self._began)
        raise psycopg2.OperationalError("Postgres does not answer")


def _wait(connection: Any) -> None:
    """psycopg2's wait callback. It closes the connection when this raises."""
    began, limit = time.monotonic(), getattr(_now, "limit", None)
    while (state := connection.poll()) != extensions.POLL_OK:
        ready = select.poll()
        ready.register(
            connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT
        )
        while not ready.poll(
            None if limit is None else max(0.0, limit.until(began) - time.monotonic()) * 1_000
        ):
            if limit is not None and time.monotonic() >= limit.until(began):
                limit.give_up()
