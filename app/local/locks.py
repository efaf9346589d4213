"""File locks that show whether a launcher, or a server's last process, is still alive.

A lock belongs to an open file, and a child that inherits the file holds it too, until the last of them ended.
That is the one honest answer to "is the old server gone?": no pid can be reused, no zombie counts, and the
orphans of a killed postmaster (which still hold its shared memory) do. Knows files and pids; does not know
what is being locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from app.local.errors import AlreadyRunning, LocalError, StillBusy

POLL_S = 0.01  # a lock is freed by process exit, which takes milliseconds


def no_tick() -> None:
    """The default of every `tick`: a function called between two polls, which may raise to end the wait."""


class FileLock:
    """An exclusive lock on `path`, held while `fd` is open here or in any process that inherited it."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd

    @classmethod
    def try_acquire(cls, path: Path) -> FileLock | None:
        """The lock, or None if someone else holds it."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return cls(path, fd)

    @classmethod
    def acquire(cls, path: Path, timeout_s: float, tick: Callable[[], None] = no_tick) -> FileLock:
        """The lock, waiting for a dying holder. Raises StillBusy after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while (lock := cls.try_acquire(path)) is None:
            if time.monotonic() > deadline:
                who = read_pid(path)
                raise StillBusy(
                    f"{path.stem} of an earlier start (pid {who}) still runs after {timeout_s:.0f} s."
                )
            tick()
            time.sleep(POLL_S)
        return lock

    def write_pid(self, pid: int) -> None:
        """Leave `pid` in the file, for messages and for `down`. Over what is there, which needs no space on
        the disk; where there is none for the first time, the lock is held all the same."""
        line = f"{pid}\n".encode()
        with contextlib.suppress(OSError):
            os.pwrite(self.fd, line, 0)
            os.ftruncate(self.fd, len(line))

    def close(self) -> None:
        """Let go of our copy; a child that inherited the file goes on holding the lock."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def read_pid(path: Path) -> int | None:
    """The pid that the lock's holder left in the file."""
    try:
        return int(path.read_text().strip() or 0) or None
    except (OSError, ValueError):
        return None


def launcher_lock_path(data_dir: Path) -> Path:
    """The file whose lock means "this data directory has a launcher"."""
    return data_dir / "up.lock"


def lock_data_dir(data_dir: Path) -> FileLock:
    """Make `data_dir` (0700 when new) and become its only launcher.

    Raises AlreadyRunning with the holder's pid, LocalError for a directory that is not ours to write.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock.try_acquire(launcher_lock_path(data_dir))
    except OSError as error:
        raise LocalError(f"{data_dir} cannot be used as the data directory ({error}).") from error
    if lock is None:
        raise AlreadyRunning(str(data_dir), read_pid(launcher_lock_path(data_dir)))
    lock.write_pid(os.getpid())
    return lock
