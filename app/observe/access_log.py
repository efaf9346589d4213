"""The access log: one line for each answered request, beside the other logs and in their form.

A line is put down in a microsecond and written by a thread of its own, many at once: the process that answers
waits for no disk and no terminal.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

FLUSH_SECONDS = 0.2
MOST_WAITING = 20_000  # lines; when they cannot be written as fast as they come, the oldest go


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


class AccessLog:
    """`start` and `close` once. Thread-safe. `log_format` as in `logs.configure`."""

    def __init__(self, log_format: str, write: Callable[[str], None] = _write) -> None:
        self._format = as_json if log_format == "json" else as_text
        self._write = write
        self._lines: deque[tuple[float, Mapping[str, Any]]] = deque(maxlen=MOST_WAITING)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, fields: Mapping[str, Any]) -> None:
        """A line more, soon; fields that are None are left out."""
        self._lines.append((time.time(), fields))

    def _run(self) -> None:
        while not self._closing.wait(FLUSH_SECONDS):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if not lines:
            return
        try:
            self._write("".join(self._format(at, fields) for at, fields in lines))
        except (OSError, ValueError):  # a full disk, or a standard error that is closed, ends no process
            return

    def close(self) -> None:
        """Writes what is left."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(FLUSH_SECONDS * 10)


def as_json(at: float, fields: Mapping[str, Any]) -> str:
    """One JSON object, with the names that the other logs have."""
    named = {name: value for name, value in fields.items() if value is not None}
    moment = datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
    return orjson.dumps({"event": "access", **named, "level": "info", "timestamp": moment}).decode() + "\n"


def as_text(at: float, fields: Mapping[str, Any]) -> str:
    """For people."""
    named = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} [info     ] access {named}\n"
