"""Commands to Redis off their callers' path, over one connection of their own.

A lone command leaves from the thread that has it to send: a thread that had to wake up for it costs a tenth
of a millisecond, and more where both want the interpreter. Its answer is awaited by the sender's thread; what
gathers meanwhile is that thread's to send, as one group (DESIGN, principle 3), and so is what may not fit
into a socket's buffer. So nobody waits for Redis, however long it takes. Knows no key and no channel.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import redis
from redis.exceptions import ClusterDownError

G = TypeVar("G")
Command = tuple[str | bytes | int, ...]

FITS_BYTES = 32 * 1024  # into the buffer of any idle connection
# They say something of the server and nothing of the command: it is a replica now, or lacks its master. What
# got one is sent again, over another connection.
NOT_NOW = (redis.ReadOnlyError, ClusterDownError)


class RedisPipe:
    """One connection; used by one thread at a time."""

    def __init__(self, client: "redis.Redis") -> None:
        self._connection: Any = client.connection_pool.make_connection()
        self._open = False

    def is_idle(self) -> bool:
        """Whether it is open and nothing comes from the other side, not even its end."""
        try:
            return self._open and self._connection.is_connected and not self._connection.can_read(0)
        except Exception:  # noqa: BLE001 - a broken socket raises in many ways; all mean: open a new one
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

    def read_reply(self) -> redis.ResponseError | None:
        """Waits for the next answer: None when Redis took the command, else why it refused it. Raises
        RedisError when the connection, or the server behind it, is of no use any more."""
        try:
            self._connection.read_response()
        except redis.ResponseError as error:
            if isinstance(error, NOT_NOW):
                raise redis.ConnectionError(str(error)) from None
            return error
        return None

    def close(self) -> None:
        """The next one to send connects anew."""
        self._open = False
        self._connection.disconnect()


@dataclass(slots=True)
class Batch(Generic[G]):
    """A group on its way. `answered` of its `answers` commands have been taken or `refused` (by their
    position)."""

    group: G
    packed: list[bytes] = field(default_factory=list)
    answers: int = 0
    answered: int = 0
    refused: dict[int, redis.ResponseError] = field(default_factory=dict)
    sent: bool = False
    failure: Exception | None = None


class BatchSender(Generic[G]):
    """Thread-safe. A subclass says what waits: `_next_group` is called with `_wake` held and returns what is
    to go now, None when nothing is; `_commands` turns it into commands. On the sender's thread, `_on_lost`
    gets a group whose connection ended, `_on_refused` one of which Redis refused some commands, and `_on_bug`
    one that could not be turned into commands. `start` once, `close` at the end."""

    def __init__(self, client: "redis.Redis", name: str) -> None:
        self._pipe = RedisPipe(client)
        self._wake = threading.Condition()
        self._closing = self._sending = False  # sending: some batch has the pipe
        self._batch: Batch[G] | None = None  # a caller's, for the sender's thread to go on with
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _has_some(self) -> bool:
        """With `_wake` held: whether `_next_group` would give something that is not to wait any longer."""
        raise NotImplementedError

    def _next_group(self) -> G | None:
        raise NotImplementedError

    def _commands(self, group: G) -> list[Command]:
        raise NotImplementedError

    def _on_answered(self) -> None:
        """Redis answered all of a group's commands."""

    def _on_refused(self, group: G, refused: Mapping[int, redis.ResponseError]) -> None:
        """Redis refused these commands, by their positions, and would refuse them again (WRONGTYPE, OOM). The
        others it took."""
        raise NotImplementedError

    def _on_lost(self, group: G, error: redis.RedisError, answered: int) -> None:
        """The connection ended after so many of the group's commands were answered."""
        raise NotImplementedError

    def _on_bug(self, group: G) -> None:
        raise NotImplementedError

    def start(self) -> None:
        self._thread.start()

    def _begin_batch(self) -> Batch[G] | None:
        """With `_wake` held, after something was added: what the calling thread is to `_send`. None: the
        sender's thread will."""
        if not self._sending and self._pipe.is_idle() and (group := self._next_group()) is not None:
            self._sending = True
            return Batch(group)
        self._wake.notify()
        return None

    def _send(self, batch: Batch[G] | None) -> None:
        """For the calling thread; never raises, never waits."""
        if batch is None:
            return
        try:
            self._pack(batch)
            if sum(map(len, batch.packed)) <= FITS_BYTES:
                self._write(batch)
        except Exception as error:  # noqa: BLE001 - the reading thread reports it to the batch's owner
            batch.failure = error
        except BaseException:  # an interrupt of the caller leaves the batch unsent; it is raised on
            batch.failure = redis.ConnectionError("interrupted")
            raise
        finally:
            with self._wake:
                self._batch = batch
                self._wake.notify()

    def _pack(self, batch: Batch[G]) -> None:
        commands = self._commands(batch.group)
        batch.packed, batch.answers = self._pipe.packed(commands), len(commands)

    def _write(self, batch: Batch[G]) -> None:
        self._pipe.send(batch.packed)
        batch.sent = True

    def _due(self) -> bool:
        """With `_wake` held: whether there is something for the sender's thread to do."""
        return bool(self._batch or self._closing or (self._has_some() and not self._sending))

    def _wait(self) -> None:
        """With `_wake` held: until it is."""
        self._wake.wait_for(self._due)

    def _run(self) -> None:
        while batch := self._next_batch():
            self._finish(batch)

    def _next_batch(self) -> Batch[G] | None:
        """A caller's that has begun, else one of what waits; None at the end."""
        with self._wake:
            self._sending = False
            self._wait()
            if not self._sending:
                if (group := self._next_group()) is None:
                    return None
                self._sending = True
                return Batch(group)
            self._wake.wait_for(lambda: self._batch)
            batch, self._batch = self._batch, None
            return batch

    def _finish(self, batch: Batch[G]) -> None:
        try:
            self._send_unsent(batch)
            self._read_replies(batch)
        except (redis.RedisError, OSError) as error:
            self._pipe.close()
            lost = error if isinstance(error, redis.RedisError) else redis.ConnectionError(str(error))
            self._report_refused(batch)
            self._on_lost(batch.group, lost, batch.answered)
        except Exception:  # noqa: BLE001 - a group that cannot be sent must not keep back those after it
            self._pipe.close()
            self._on_bug(batch.group)
        else:
            self._report_refused(batch)
            self._on_answered()

    def _send_unsent(self, batch: Batch[G]) -> None:
        if batch.failure:
            raise batch.failure
        if not batch.packed:
            self._pack(batch)
        if not batch.sent:
            if not self._pipe.is_idle():
                self._pipe.close()
            self._write(batch)

    def _read_replies(self, batch: Batch[G]) -> None:
        while batch.answered < batch.answers:
            if error := self._pipe.read_reply():
                batch.refused[batch.answered] = error
            batch.answered += 1

    def _report_refused(self, batch: Batch[G]) -> None:
        if batch.refused:
            self._on_refused(batch.group, batch.refused)

    def close(self, timeout: float = 3.0) -> None:
        """Sends what waits, for at most `timeout` seconds."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join(timeout)
        with self._wake:
            self._pipe.close()
