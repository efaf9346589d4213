"""What leaves a model process. Most of it is sent by a thread of its own, beside the batch; `flush` sends
from the batch loop, where something must have left before code runs that may never let go of the interpreter.

Knows frames, not their meaning; an event that is not JSON becomes the failure of its work item alone.
"""

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

from app.domain.raw_tensors import Buffer
from app.domain.work import Event, Failed, Finished
from app.engine.frames import Packed, encode, encode_answer, join_short, pack


class Outbox:
    """Thread-safe. Order is kept."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._waiting: deque[tuple[str, Any]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._sending = threading.Lock()
        self._thread = threading.Thread(target=self._send, name="outbox", daemon=True)
        self._thread.start()

    def send_event(self, work_id: str, event: Event) -> None:
        self._put(("event", (work_id, event)))

    def add_events(self, events: Iterable[tuple[str, Event]]) -> None:
        """They leave with whatever comes next, at the latest with `flush`: a batch begins and ends as one
        message, not one for each item, and wakes no thread of its own."""
        with self._changed:
            self._waiting.extend(("event", pair) for pair in events)

    def send_message(self, kind: str, value: Any) -> None:
        """`kind` is ready, alive, failed, dying or log. Raises TypeError for what is not JSON."""
        self._put(("message", encode([kind, value])))

    def close(self) -> None:
        """Sends what is left and ends."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _put(self, item: tuple[str, Any]) -> None:
        with self._changed:
            self._waiting.append(item)
            self._changed.notify()

    def flush(self) -> None:
        """Sends from the calling thread, which waits for the socket. That a batch has started must be known
        before it runs: without it the engine would not know whose time to count.

        When the engine is gone, the reader thread ends the process.
        """
        with self._sending, contextlib.suppress(OSError):
            if group := self._pop_all():
                for piece in join_short(encode_group(group)):
                    self._sock.sendall(piece)

    def _send(self) -> None:
        while self._wait():
            self.flush()

    def _wait(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return bool(self._waiting)

    def _pop_all(self) -> list[tuple[str, Any]]:
        with self._changed:
            group = list(self._waiting)
            self._waiting.clear()
            return group


def encode_group(group: list[tuple[str, Any]]) -> list[Buffer]:
    """Events that stand together travel in one frame; an output with tensors in one of its own, in pieces."""
    frames: list[Buffer] = []
    events: list[tuple[str, Event]] = []
    for kind, value in group:
        if kind == "event" and not getattr(value[1], "tensors", None):
            events.append(value)
            continue
        frames += _event_frames(events)
        events = []
        frames += _answer_frame(*value) if kind == "event" else [value]
    return [*frames, *_event_frames(events)]


def _answer_frame(work_id: str, event: Finished) -> list[Buffer]:
    try:
        return encode_answer(work_id, event)
    except TypeError as error:
        failed = Failed(f"the model's output cannot be written down: {error}", metrics=event.metrics)
        return [*_event_frames([(work_id, failed)])]


def _event_frames(events: list[tuple[str, Event]]) -> list[bytes]:
    if not events:
        return []
    try:
        return [encode(["events", [pack(work_id, event) for work_id, event in events]])]
    except TypeError:
        return [encode(["events", [_pack_or_fail(work_id, event)]]) for work_id, event in events]


def _pack_or_fail(work_id: str, event: Event) -> Packed:
    packed = pack(work_id, event)
    try:
        encode(packed)
    except TypeError as error:
        return pack(work_id, Failed(f"the model's output cannot be written as JSON: {error}"))
    return packed
