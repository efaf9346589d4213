"""What `lovage up` writes: its own short lines, and every program's lines with a coloured name in front.

Knows a text stream and ANSI colours. Does not know processes; a terminal that went away, or a full disk
behind it, never ends the platform.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

from app.local.log_file import FULL

PALETTE = ("36", "32", "33", "35", "34", "96", "92", "93", "95", "94")  # no red: red is for what went wrong
RED = "31"


def wants_colour(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Colour for a terminal, unless NO_COLOR (no-color.org: any non-empty value) or a dumb terminal forbids
    it."""
    return stream.isatty() and not env.get("NO_COLOR") and env.get("TERM") != "dumb"


class Terminal:
    """One writer for everything that is shown; called from the launcher's main thread."""

    def __init__(self, stream: TextIO, *, colour: bool = False, show_programs: bool = True) -> None:
        self._stream = stream
        self._colour = colour
        self._show_programs = show_programs
        self._names: dict[str, str] = {}

    def register(self, name: str) -> None:
        """Give `name` a colour, and the prefix the width of the longest name."""
        self._names.setdefault(name, PALETTE[len(self._names) % len(PALETTE)])

    def say(self, text: str) -> None:
        """A line of the launcher's own."""
        self._write(text)

    def warn(self, text: str) -> None:
        """A line of the launcher's own about something that went wrong."""
        self._write(self._paint(RED, text))

    def program_line(self, name: str, line: str) -> None:
        """A line that program `name` wrote."""
        if not self._show_programs:
            return
        self.register(name)
        width = max(map(len, self._names))
        self._write(f"{self._paint(self._names[name], f'{name:<{width}} |')} {line}")

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) not in FULL:  # closed pipe, closed file: the log files go on
                self._show_programs = False
