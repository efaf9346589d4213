"""Catches what a model process writes to stdout and stderr, C code included, at the level of file
descriptors.

The engine holds the pipe's read end too, so that the last output of a crashed process is not lost. Knows
no work items.
"""

import codecs
import contextlib
import fcntl
import io
import os
import select
import sys
import threading
from collections.abc import Callable

# Enough for a burst of prints while C code holds the interpreter lock and nobody can read. Linux's default is
# 64 KiB.
PIPE_BYTES = 1024 * 1024
READ_BYTES = 65_536
F_SETPIPE_SZ = 1031


def new_pipe() -> tuple[int, int]:
    """A pipe whose read end does not block. (read, write)"""
    read, write = os.pipe()
    os.set_blocking(read, False)
    with contextlib.suppress(OSError):
        fcntl.fcntl(write, F_SETPIPE_SZ, PIPE_BYTES)
    return read, write


def read_all(fd: int) -> bytes:
    """What is in the pipe now."""
    parts = []
    with contextlib.suppress(BlockingIOError):
        while part := os.read(fd, READ_BYTES):
            parts.append(part)
    return b"".join(parts)


class LogCapture:
    """`drain` passes on everything written so far; a thread does it, too, as text arrives. A progress bar,
    which goes back to the beginning of its line, becomes lines: clients read the last."""

    def __init__(self, read_fd: int, emit: Callable[[str], None]) -> None:
        self._fd, self._emit = read_fd, emit
        characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = io.IncrementalNewlineDecoder(characters, translate=True)
        self._lock = threading.Lock()

    def start(self, write_fd: int) -> None:
        """From now on stdout and stderr of this process are the pipe."""
        os.dup2(write_fd, 1)
        os.dup2(write_fd, 2)
        os.close(write_fd)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        threading.Thread(target=self._follow, name="logs", daemon=True).start()

    def drain(self) -> None:
        """Under one lock, so that text keeps its order; called before every ending, so that none comes too
        late."""
        with contextlib.suppress(ValueError):
            sys.stdout.flush()
        with self._lock:
            text = self._decoder.decode(read_all(self._fd))
            if text:
                self._emit(text)

    def _follow(self) -> None:
        while True:
            select.select([self._fd], [], [])
            self.drain()
