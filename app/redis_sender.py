"""Commands to Redis off their callers' path, over one connection of their own.

A lone command leaves from the thread that has it to send: a thread that had to wake up for it costs a tenth of a millisecond,
and more where both want the interpreter. Its answer is awaited by the sender's thread; what gathers meanwhile is that thread's
to send, as one group (DESIGN, principle 3), and so is what may not fit into a socket's buffer. So nobody waits for Redis, however
long it takes. Knows no key and no channel.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import redis

G = TypeVar("G")
Command = tuple[str | bytes | int, ...]

FITS_BYTES = 32 * 1024  # into the buffer of any connection that rests


class RedisLine:
    """One connection; used by one thread at a time."""

    def __init__(self, url: str) -> None:
        pool = redis.ConnectionPool.from_url(url, socket_timeout=2, socket_connect_timeout=1, retry=None)
        self._connection: Any = pool.make_connection()
        self._open = False

    def rests(self) -> bool:
        """Whether it is open and nothing comes from the other side, not even its end."""
        try:
            return self._open and self._connection.is_connected and not self._connection.can_read(0)
        except Exception:
            return False

    def packed(self, commands: Sequence[Command]) -> list[bytes]:
        """As they are sent."""
        return list(self._connection.pack_commands(commands))

    def send(self, packed: Sequence[bytes]) -> None:
        """Connects first where that is needed; raises RedisError."""
        if not self._open:
            self._connection.connect()
            self._open = True
        self._connection.send_packed_command(packed, check_health=False)

    def hear(self, answers: int) -> None:
        """Waits for so many. Raises RedisError: a ResponseError when Redis refused one, after all were heard."""
        refused: redis.ResponseError | None = None
        for _ in range(answers):
            try:
                self._connection.read_response()
            except redis.ResponseError as error:
                refused = refused or error
        if refused:
            raise refused

    def drop(self) -> None:
        """The next one to send connects anew."""
        self._open = False
        self._connection.disconnect()


@dataclass(slots=True)
class Turn(Generic[G]):
    """A group on its way."""

    group: G
    packed: list[bytes] = field(default_factory=list)
    answers: int = 0
    sent: bool = False
    failure: Exception | None = None


class RedisSender(Generic[G]):
    """Thread-safe. A subclass says what waits: `_take` is called with `_wake` held and returns what is to go now, None when
    nothing is; `_commands` turns it into commands. `_lost` hears of what Redis did not take, `_broken` of what cannot be said,
    both on the sender's thread. `start` once, `close` at the end."""

    def __init__(self, redis_url: str, name: str) -> None:
        self._line = RedisLine(redis_url)
        self._wake = threading.Condition()
        self._closing = self._sending = False  # sending: some turn has the line
        self._turn: Turn[G] | None = None  # a caller's, for the sender's thread to go on with
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _has_some(self) -> bool:
        """With `_wake` held: whether `_take` would give something that is not to wait any longer."""
        raise NotImplementedError

    def _take(self) -> G | None:
        raise NotImplementedError

    def _commands(self, group: G) -> list[Command]:
        raise NotImplementedError

    def _taken(self) -> None:
        """Redis took a group."""

    def _lost(self, group: G, error: redis.RedisError) -> None:
        raise NotImplementedError

    def _broken(self, group: G) -> None:
        raise NotImplementedError

    def start(self) -> None:
        self._thread.start()

    def _own_turn(self) -> Turn[G] | None:
        """With `_wake` held, after something was added: what the calling thread is to `_send`. None: the sender's thread will."""
        if not self._sending and self._line.rests() and (group := self._take()) is not None:
            self._sending = True
            return Turn(group)
        self._wake.notify()
        return None

    def _send(self, turn: Turn[G] | None) -> None:
        """For the calling thread; never raises, never waits."""
        if turn is None:
            return
        try:
            self._pack(turn)
            if sum(map(len, turn.packed)) <= FITS_BYTES:
                self._say(turn)
        except Exception as error:
            turn.failure = error
        except BaseException:
            turn.failure = redis.ConnectionError("interrupted")
            raise
        finally:
            with self._wake:
                self._turn = turn
                self._wake.notify()

    def _pack(self, turn: Turn[G]) -> None:
        commands = self._commands(turn.group)
        turn.packed, turn.answers = self._line.packed(commands), len(commands)

    def _say(self, turn: Turn[G]) -> None:
        self._line.send(turn.packed)
        turn.sent = True

    def _due(self) -> bool:
        """With `_wake` held: whether there is something for the sender's thread to do."""
        return bool(self._turn or self._closing or (self._has_some() and not self._sending))

    def _wait(self) -> None:
        """With `_wake` held: until it is."""
        self._wake.wait_for(self._due)

    def _run(self) -> None:
        while turn := self._next_turn():
            self._finish(turn)

    def _next_turn(self) -> Turn[G] | None:
        """A caller's that has begun, else one of what waits; None at the end."""
        with self._wake:
            self._sending = False
            self._wait()
            if not self._sending:
                if (group := self._take()) is None:
                    return None
                self._sending = True
                return Turn(group)
            self._wake.wait_for(lambda: self._turn)
            turn, self._turn = self._turn, None
            return turn

    def _finish(self, turn: Turn[G]) -> None:
        try:
            if turn.failure:
                raise turn.failure
            if not turn.packed:
                self._pack(turn)
            if not turn.sent:
                if not self._line.rests():
                    self._line.drop()
                self._say(turn)
            self._line.hear(turn.answers)
            self._taken()
        except redis.ResponseError as error:
            self._lost(turn.group, error)
        except (redis.RedisError, OSError) as error:
            self._line.drop()
            self._lost(turn.group, error if isinstance(error, redis.RedisError) else redis.ConnectionError(str(error)))
        except Exception:  # one that cannot be said must not silence all that come after it
            self._line.drop()
            self._broken(turn.group)

    def close(self, timeout: float = 3.0) -> None:
        """Sends what waits, for at most `timeout` seconds."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join(timeout)
        with self._wake:
            self._line.drop()
