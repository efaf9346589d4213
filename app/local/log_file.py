"""Log files of programs: appended to, cut when large or old, quoted from when something fails.

A full disk ends nobody who writes here. Knows files and sizes; does not know what is in the lines.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

MAX_BYTES = 10 * 1024 * 1024  # two files of it a program: a week of a quiet platform, and nobody's disk
MAX_DAYS = 7  # that a log begins before; with its copy it goes back twice as far
TAIL_BYTES = 8 * 1024
HEAD_BYTES = 4 * 1024  # in which a line with its date is looked for
DATE = re.compile(rb"\b\d{4}-\d\d-\d\d(?=[ T])")
CHECK_SECONDS = 10.0


def log_path(data_dir: Path, name: str) -> Path:
    """Where the log of program `name` is; its folder exists afterwards. `cpu:0` and the like become file
    names."""
    folder = data_dir / "logs"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / (
        "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name) + ".log"
    )


def cut_if_due(path: Path, max_bytes: int = MAX_BYTES, max_days: int = MAX_DAYS) -> None:
    """Copy a log that is larger, or begins longer ago (0: whenever), to `<name>.log.1` and empty it. Its
    writers append, so those with it open go on at the start; of several that cut it one does. Without space
    for the copy, the older one goes, and the log is cut another time."""
    copy = path.with_name(path.name + ".1")
    try:
        if not _is_due(path, max_bytes, max_days):
            return
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_due(path, max_bytes, max_days):
                shutil.copyfile(path, copy)
                file.truncate(0)
    except FileNotFoundError:
        return
    except OSError:
        with contextlib.suppress(OSError):
            copy.unlink(missing_ok=True)


def _is_due(path: Path, max_bytes: int, max_days: int) -> bool:
    if path.stat().st_size > max_bytes:
        return True
    first = _first_day(path) if max_days else None
    return first is not None and (datetime.now(UTC).date() - first).days >= max_days


def _first_day(path: Path) -> date | None:
    """Of its first line that says one."""
    with path.open("rb") as file:
        day = DATE.search(file.read(HEAD_BYTES))
    try:
        return date.fromisoformat(day[0].decode()) if day else None
    except ValueError:
        return None


def redirect_errors(path: Path, max_bytes: int, max_days: int) -> None:
    """What this process and its children write to standard error goes into this file, which is cut as
    `cut_if_due` does. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(descriptor, 2)
    os.close(descriptor)

    def cut_again_and_again() -> None:
        while True:
            cut_if_due(path, max_bytes, max_days)
            time.sleep(CHECK_SECONDS)

    threading.Thread(target=cut_again_and_again, name="log-file", daemon=True).start()


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
