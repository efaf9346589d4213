"""Downloaded models on this machine's disk: which are complete, which are in use, and which are evicted
for others.

Several workers may share the folder. Whoever uses a model holds a shared lock on the file beside it, whoever
downloads or removes it an exclusive one; the system lets go of the locks of a process that dies. Knows no
source and no network.
"""

import contextlib
import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from app.domain.errors import ModelUnavailable
from app.outbound.deadline import LOOK_SECONDS, CallCanceled

log = structlog.get_logger(__name__)

DONE_MARK = ".complete"  # holds the bytes of the folder; its time is that of the last use
LOCK = ".in-use"  # ends the name of the file beside a model's folder
UNUSED_SECONDS = 60.0  # between being asked for and being seen in use
# Left free where no budget is set: of the disk, and at most.
FREE_SHARE, FREE_BYTES = 0.1, 5_000_000_000


class ModelStore:
    """Thread-safe. `budget` in bytes for all models together (0: as many as leave 5 GB of the disk free).
    `folders_in_use`: what this process has loaded or is about to load."""

    def __init__(self, cache: Path, budget: int, folders_in_use: Callable[[], Collection[str]]) -> None:
        self._cache, self._budget = cache, budget
        self._folders_in_use = folders_in_use
        self._held: dict[Path, tuple[int, float]] = {}  # descriptor, when it was last asked for
        self._lock = threading.Lock()

    def folder(self, kind: str, *parts: str) -> Path:
        """Where a source's files belong."""
        return self._cache.joinpath(kind, *parts)

    def use(self, folder: Path) -> bool:
        """Whether it is complete; from then on it stays until nothing of this process uses it."""
        with self._lock:
            if not self.is_complete(folder):
                return False
            held = self._held.pop(folder, None)
            descriptor = held[0] if held else _open_lock(folder)
            if not _try_lock(descriptor, fcntl.LOCK_SH) or not _touch(folder / DONE_MARK):  # it is removed
                os.close(descriptor)
                return False
            self._held[folder] = (descriptor, time.monotonic())
            return True

    def is_complete(self, folder: Path) -> bool:
        return (folder / DONE_MARK).exists()

    @contextmanager
    def writing(self, folder: Path, is_canceled: Callable[[], bool]) -> Iterator[None]:
        """Nobody else writes or removes it meanwhile. Waits for other workers. Raises CallCanceled."""
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _open_lock(folder)
        try:
            while not _try_lock(descriptor, fcntl.LOCK_EX):
                if is_canceled():
                    raise CallCanceled("canceled")
                time.sleep(LOOK_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def complete(self, folder: Path) -> None:
        """All of it is there."""
        (folder / DONE_MARK).write_text(str(size_of(folder)))

    def free_space(self, folder: Path, size: int) -> None:
        """Removes what has been unused for longest until `size` more bytes fit. Raises ModelUnavailable when
        they do not."""
        with self._lock:
            self._let_go_of_unused()
            missing = self._missing(folder, size)
            for other in self._least_recently_used():
                if missing <= 0:
                    return
                if other != folder and _remove(other):
                    missing = self._missing(folder, size)
        if missing > 0:
            raise ModelUnavailable(
                f"The model has {size / 1e9:.1f} GB, {missing / 1e9:.1f} GB more than this worker's disk has"
                " space for beside the models in use (MODEL_DISK_BYTES)."
            )

    def _missing(self, folder: Path, size: int) -> int:
        there = size_of(folder)
        usage = shutil.disk_usage(self._cache)
        kept_free = 0 if self._budget else min(int(usage.total * FREE_SHARE), FREE_BYTES)
        missing = size - there - (usage.free - kept_free)
        if self._budget:
            others = sum(_recorded_size(each) for each in self._folders() if each != folder)
            missing = max(missing, others + size - self._budget)
        return missing

    def _let_go_of_unused(self) -> None:
        in_use = {Path(folder) for folder in self._folders_in_use()}
        for folder, (descriptor, asked_at) in list(self._held.items()):
            if folder not in in_use and time.monotonic() - asked_at > UNUSED_SECONDS:
                del self._held[folder]
                os.close(descriptor)

    def _least_recently_used(self) -> list[Path]:
        """What was broken off first: nobody can use it."""
        return sorted(self._folders(), key=_last_use)

    def _folders(self) -> set[Path]:
        marks = {mark.parent for mark in self._cache.rglob(DONE_MARK)}
        return marks | {
            lock.with_name(lock.name.removesuffix(LOCK)) for lock in self._cache.rglob(f"*{LOCK}")
        }


def _open_lock(folder: Path) -> int:
    return os.open(folder.with_name(folder.name + LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _touch(mark: Path) -> bool:
    """False when it is not there."""
    try:
        os.utime(mark)
    except FileNotFoundError:
        return False
    return True


def _remove(folder: Path) -> bool:
    """False when somebody uses it."""
    descriptor = _open_lock(folder)
    try:
        if not folder.is_dir() or not _try_lock(descriptor, fcntl.LOCK_EX):
            return False
        log.info("model_removed_from_disk", folder=str(folder), bytes=_recorded_size(folder))
        (folder / DONE_MARK).unlink(missing_ok=True)  # first: half a model must not look complete
        shutil.rmtree(folder, ignore_errors=True)
        return True
    finally:
        os.close(descriptor)


def _last_use(folder: Path) -> float:
    with contextlib.suppress(OSError):
        return (folder / DONE_MARK).stat().st_mtime
    return 0.0


def _recorded_size(folder: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int((folder / DONE_MARK).read_text())
    return size_of(folder)


def size_of(folder: Path) -> int:
    """Bytes of all files in it; links count nothing."""
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # removed meanwhile
            size += 0 if path.is_symlink() or not path.is_file() else path.stat().st_size
    return size
