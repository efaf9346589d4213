"""Log files of programs: appended to, cut when large, quoted from when something fails.

A full disk ends nobody who writes here. Knows files and sizes; does not know what is in the lines.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

MAX_BYTES = 10 * 1024 * 1024  # two files of it a program: a week of a quiet platform, and nobody's disk
TAIL_BYTES = 8 * 1024


def log_path(data_dir: Path, name: str) -> Path:
    """Where the log of program `name` is; its folder exists afterwards. `cpu:0` and the like become file
    names."""
    folder = data_dir / "logs"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / (
        "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name) + ".log"
    )


def cut_if_large(path: Path, max_bytes: int = MAX_BYTES) -> None:
    """Copy the log to `<name>.log.1` and empty it. Its writers append, so those with it open go on at the
    start. Without space for the copy, the older one goes, and the log is cut another time."""
    copy = path.with_name(path.name + ".1")
    try:
        if path.stat().st_size <= max_bytes:
            return
        shutil.copyfile(path, copy)
        with path.open("r+b") as file:
            file.truncate(0)
    except FileNotFoundError:
        return
    except OSError:
        with contextlib.suppress(OSError):
            copy.unlink(missing_ok=True)


class LogFile:
    """Appends to `file`, which is closed by `close`. What does not fit on the disk is counted, and the log
    says so when there is space again; `warn` gets a sentence each time that begins and ends."""

    def __init__(self, file: IO[bytes], warn: Callable[[str], None]) -> None:
        self.file, self._warn = file, warn
        self._lost = 0

    def write(self, data: bytes) -> None:
        """Never raises."""
        note = f"\n[{self._lost} bytes were not logged: there was no space]\n".encode() if self._lost else b""
        try:
            written = self.file.write(note + data)
        except OSError as error:
            if not self._lost:
                self._warn(f"Its log cannot be written ({error.strerror}): the platform goes on without.")
            self._lost += len(data)
            return
        if self._lost and written >= len(note):
            self._lost = 0
            self._warn("Its log is written again.")

    def close(self) -> None:
        self.file.close()


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, for the sentence that says what failed."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
