"""One program's output: all of it into the log file, and line by line to the terminal.

Knows pipes that don't block and lines. Does not know when programs start or end.
"""

from __future__ import annotations

import os
import selectors
from typing import IO

from app.local.log_file import LogFile
from app.local.terminal import Terminal

READ_BYTES = 64 * 1024
LONGEST_LINE = 16 * 1024  # a program that never ends its line is shown in pieces of this size


class ProgramOutput:
    """`log` is the program's log file, open for appending; it is closed by `close`.

    The selector calls `read` when the attached pipe has something.
    """

    def __init__(
        self, name: str, log: IO[bytes], terminal: Terminal, selector: selectors.BaseSelector
    ) -> None:
        self.log = LogFile(log, lambda sentence: terminal.warn(f"{name}: {sentence}"))
        self._name = name
        self._terminal = terminal
        self._selector = selector
        self._pipe: IO[bytes] | None = None
        self._partial = b""  # of a line whose end has not come yet

    def attach(self, pipe: IO[bytes] | None) -> None:
        """Read from the pipe of a new start; None: the program writes into the log file itself."""
        self._pipe = pipe
        if pipe is not None:
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ, self.read)

    def read(self) -> bool:
        """Take what the program wrote; whether there may be more."""
        if self._pipe is None:
            return False
        try:
            data = os.read(self._pipe.fileno(), READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._detach()
            return False
        self.log.write(data)
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > LONGEST_LINE:
            lines, self._partial = [*lines, self._partial], b""
        for line in lines:
            self._show(line.rstrip(b"\r"))
        return True

    def finish(self) -> None:
        """Read what an ended program left in its pipe, and close it: a stray grandchild may hold the other
        end."""
        while self.read():
            pass
        if self._partial:
            self._show(self._partial)
            self._partial = b""
        self._detach()

    def close(self) -> None:
        """Close the log file."""
        self.log.close()

    def _detach(self) -> None:
        if self._pipe is not None:
            self._selector.unregister(self._pipe)
            self._pipe.close()
            self._pipe = None

    def _show(self, line: bytes) -> None:
        self._terminal.program_line(self._name, line.decode(errors="replace"))
