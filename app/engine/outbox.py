"""What leaves a model process: a thread sends whatever has gathered, so that the batch loop never waits for a
socket.

Knows frames, not their meaning; an event that is no JSON becomes the failure of its work alone.
"""

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

from app.domain.work import Event, Failed
from app.engine.frames import Packed, encode, pack


class Outbox:
    """Thread-safe. Order is kept."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._waiting: deque[tuple[str, Any]] = deque()
        self._some = threading.Condition()
        self._closed = False
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._send, name="outbox", daemon=True)
        self._thread.start()

    def event(self, work_id: str, event: Event) -> None:
        self._put(("event", (work_id, event)))

    def later(self, events: Iterable[tuple[str, Event]]) -> None:
        """They leave with whatever comes next, at the latest with `flush`: a batch begins and ends as one
        message, not one for each work, and wakes no thread of its own."""
        with self._some:
            self._waiting.extend(("event", pair) for pair in events)

    def events(self, events: list[tuple[str, Event]]) -> None:
        """Several at once."""
        with self._some:
            self._waiting.extend(("event", pair) for pair in events)
            self._some.notify()

    def message(self, kind: str, value: Any) -> None:
        """`kind` is ready, failed, dying or log. Raises TypeError for what is no JSON."""
        self._put(("message", encode([kind, value])))

    def close(self) -> None:
        """Sends what is left and ends."""
        with self._some:
            self._closed = True
            self._some.notify()
        self._thread.join()

    def _put(self, item: tuple[str, Any]) -> None:
        with self._some:
            self._waiting.append(item)
            self._some.notify()

    def flush(self) -> None:
        """Sends from the calling thread. For what must be told before code runs that may never let go of the
        interpreter: the engine would not know whose time to count."""
        with (
            self._turn,
            contextlib.suppress(OSError),
        ):  # when the engine is gone, the reader thread ends the process
            if group := self._take():
                self._sock.sendall(b"".join(frames_of(group)))

    def _send(self) -> None:
        while self._wait():
            self.flush()

    def _wait(self) -> bool:
        with self._some:
            self._some.wait_for(lambda: self._waiting or self._closed)
            return bool(self._waiting)

    def _take(self) -> list[tuple[str, Any]]:
        with self._some:
            group = list(self._waiting)
            self._waiting.clear()
            return group


def frames_of(group: list[tuple[str, Any]]) -> list[bytes]:
    """Events that stand together travel in one frame."""
    frames: list[bytes] = []
    events: list[tuple[str, Event]] = []
    for kind, value in group:
        if kind == "event":
            events.append(value)
            continue
        frames += _event_frames(events)
        events = []
        frames.append(value)
    return frames + _event_frames(events)


def _event_frames(events: list[tuple[str, Event]]) -> list[bytes]:
    if not events:
        return []
    try:
        return [encode(["events", [pack(work_id, event) for work_id, event in events]])]
    except TypeError:
        return [encode(["events", [_packed_or_failed(work_id, event)]]) for work_id, event in events]


def _packed_or_failed(work_id: str, event: Event) -> Packed:
    packed = pack(work_id, event)
    try:
        encode(packed)
    except TypeError as error:
        return pack(work_id, Failed(f"the model's output cannot be written as JSON: {error}"))
    return packed
