"""One model process as its owner sees it: a socket, a log pipe, an exit status. Kills and closes it.

Knows frames and processes; what the messages mean is the owner's business (`Owner`).
"""

import contextlib
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, TimeoutError
from typing import Any, Protocol

from app.coalesce import ThreadCoalescer
from app.domain.errors import ModelUnavailable
from app.domain.raw_tensors import Buffer
from app.engine import log_capture
from app.engine.fork_client import Forked, ForkServerClient
from app.engine.frames import FrameReader, encode, join_short

# How long after the end of the socket the exit status is waited for; it comes within milliseconds of the
# death.
EXIT_SECONDS = 1.0
FINAL_OUTPUT_CHARACTERS = 2000
# Asked for each direction of the socket; the system may give less. 16 MiB there and back took 37 ms with
# what is usual, 23 ms with this.
SEND_BYTES = 4 << 20
# What a process says once a second, when it says nothing else.
ALIVE = [["alive", None]]


class DiedLoadingError(ModelUnavailable):
    """The process ended while it loaded, without saying why."""


class Owner(Protocol):
    """Called on the link's own thread."""

    def on_messages(self, link: "ModelLink", messages: Sequence[Any]) -> None: ...

    def on_death(self, link: "ModelLink", reason: str) -> None: ...


class ModelLink:
    """Thread-safe. `expected` is set before an intended end, so that the owner can tell it from a crash.
    `ready`: what the process says of itself when it has loaded, or why it has not (ModelUnavailable).
    `last_alive_at`: when it gave a sign of life; `last_event_at`: when it did more than that. `last_output`:
    of a dead one, the end of a sentence with what it wrote last; whatever it ran may be in it."""

    def __init__(self, client: ForkServerClient, owner: Owner, fork_timeout: float) -> None:
        """Forks the process. Raises ForkServerDied, OSError, TimeoutError."""
        self._client, self._owner = client, owner
        self.expected = False
        self.dead = ""
        self._dying = self.last_output = ""
        self.ready: Future[dict[str, Any]] = Future()
        self._kill_reason = ""
        self.last_alive_at = self.last_event_at = time.monotonic()
        self._fork(fork_timeout)
        self._send_pieces: ThreadCoalescer[list[Buffer], None] = ThreadCoalescer(
            self._send_group, size_of=_size_of
        )
        self._unsent: deque[Buffer] = deque()
        self._sending_first = False
        self._turn = threading.Lock()
        threading.Thread(target=self._follow, name=f"model-{self.pid}", daemon=True).start()

    def _fork(self, timeout: float) -> None:
        self._sock, theirs = socket.socketpair()
        for each in (self._sock, theirs):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        self._log_fd, log_write = log_capture.new_pipe()
        try:
            self._forked: Forked = self._client.fork([theirs.fileno(), self._log_fd, log_write], timeout)
        except BaseException:  # the descriptors are closed, then it is raised on
            self._sock.close()
            os.close(self._log_fd)
            raise
        finally:
            theirs.close()
            os.close(log_write)
        self.pid = self._forked.pid

    def send(self, message: Sequence[Any]) -> None:
        """Sends a message. That the process is dead is no error here: its owner's `on_death` is called.
        Raises TypeError for what is not JSON."""
        self._send_pieces([encode(message)])

    def send_frames(self, pieces: Iterable[Buffer]) -> None:
        """Sends several encoded messages at once."""
        self._send_pieces(list(pieces))

    def note(self, kind: str, value: Any) -> None:
        """Takes a message about the process itself: ready, failed (to load) or dying (by its own
        decision)."""
        if kind == "ready":
            self.ready.set_result(value)
        elif kind == "failed":
            self.expected = True
            self.ready.set_exception(ModelUnavailable(value))
        elif kind == "dying":
            self._dying = f": {value}"
        # or alive: among other messages there is nothing more to it

    def kill(self, reason: str = "") -> None:
        """SIGKILL, at once; `reason` is what its owner reads of its death."""
        self._kill_reason = self._kill_reason or reason
        self._client.kill(self.pid)

    def close(self, grace: float) -> None:
        """Lets the process end by itself, kills it after `grace` seconds, returns when it is gone."""
        self.expected = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        if not self._has_exited(grace):
            self.kill()
            self._has_exited(EXIT_SECONDS)

    def _has_exited(self, timeout: float) -> bool:
        with contextlib.suppress(TimeoutError):
            self._forked.exit.result(timeout)
            return True
        return False

    def _send_group(self, group: list[list[Buffer]]) -> list[None]:
        """Never waits for the process to read: one that hangs must not keep whoever sends, least of all who
        is to kill it."""
        with self._turn:
            for piece in join_short(piece for pieces in group for piece in pieces):
                rest = piece if self._unsent else memoryview(piece)[self._send_now(piece) :]
                if rest:
                    self._unsent.append(rest)
                    if len(self._unsent) == 1:
                        name = f"send-{self.pid}"
                        threading.Thread(target=self._send_rest, name=name, daemon=True).start()
        return [None] * len(group)

    def _send_now(self, data: Buffer) -> int:
        """How many of the bytes the socket takes now."""
        try:
            return self._sock.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def _send_rest(self) -> None:
        """What the socket did not take at once, in order; a thread that lives for as long as there is
        some."""
        with contextlib.suppress(OSError):
            while data := self._next_unsent():
                self._sock.sendall(data)

    def _next_unsent(self) -> Buffer:
        with self._turn:
            if self._sending_first:
                self._unsent.popleft()
            self._sending_first = bool(self._unsent)
            return self._unsent[0] if self._unsent else b""

    def _follow(self) -> None:
        reader = FrameReader(self._sock)
        with contextlib.suppress(OSError):
            while messages := reader.read():
                self.last_alive_at = time.monotonic()
                if messages != ALIVE:
                    self.last_event_at = self.last_alive_at
                    self._owner.on_messages(self, messages)
        reason = self._reason()
        self._sock.close()
        os.close(self._log_fd)
        self.dead = reason
        if not self.ready.done():
            self.ready.set_exception(DiedLoadingError(f"while loading, {reason}{self.last_output}"))
        self._owner.on_death(self, reason)

    def _reason(self) -> str:
        """Why it ended. Keeps the last that it wrote (a crashed interpreter's own traceback, for example)."""
        if not self._has_exited(EXIT_SECONDS):
            self.kill()  # it closed its socket, or wrote rubbish, and lives on
            self._has_exited(EXIT_SECONDS)
        status = self._forked.exit.result() if self._forked.exit.done() else None
        output = log_capture.read_all(self._log_fd).decode("utf-8", "replace").strip()
        self.last_output = f"; last output: {output[-FINAL_OUTPUT_CHARACTERS:]}" if output else ""
        if status is None:
            self.expected = True  # the fork server's death says nothing about the work that ran
        ending = (
            f"its process was killed: {self._kill_reason}" if self._kill_reason else describe_exit(status)
        )
        return ending + self._dying


def _size_of(pieces: list[Buffer]) -> int:
    return sum(map(len, pieces))


def describe_exit(status: int | None) -> str:
    """A sentence's end for an exit status."""
    if status is None:
        return "its process died with the fork server"
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        hint = " (the system may have run out of memory)" if status == -signal.SIGKILL else ""
        return f"its process was ended by {name}{hint}"
    return f"its process ended with status {status}"
