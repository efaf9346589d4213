"""Memory of this machine's devices that is promised to programs beside the workers, so that all who load
models count it. One file for each, locked for as long as whoever reserved lives: what the dead reserved
counts no more. Standard library only."""

import fcntl
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

TRIES, TRY_SECONDS = 20, 0.01  # a reader locks a file for a moment


@dataclass(frozen=True, slots=True)
class Reserved:
    """`is_used`: the memory is taken already, not only promised."""

    device: str
    bytes: int
    is_used: bool = False


class Reservation:
    """A name of this machine that is held, with or without memory."""

    def __init__(self, file: IO[str], device: str, size: int) -> None:
        self._file = file
        self._device, self._size = device, size
        self._write(is_used=False)

    @property
    def descriptor(self) -> int:
        """A process that inherits it holds the reservation, too."""
        return self._file.fileno()

    def set_used(self) -> None:
        """What was promised is taken now."""
        self._write(is_used=True)

    def _write(self, *, is_used: bool) -> None:
        text = json.dumps({"device": self._device, "bytes": self._size, "is_used": is_used})
        self._file.seek(0)
        self._file.write(text.ljust(200))  # read while it is written, it is whole
        self._file.flush()

    def release(self) -> None:
        """At once, whoever has inherited it."""
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._file.close()


class MemoryReservations:
    """In a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hold(self, name: str, device: str, size: int) -> Reservation | None:
        """None while another process of this machine has the name. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{name}.reserved"
        path.touch(0o600)
        file = path.open("r+")
        for _ in range(TRIES):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(TRY_SECONDS)
                continue
            file.truncate(0)
            return Reservation(file, device, size)
        file.close()
        return None

    def list_all(self) -> list[Reserved]:
        """All that are held now."""
        held = []
        for path in sorted(self._folder.glob("*.reserved")):
            try:
                with path.open("r") as file:
                    if _is_held(file):
                        held.append(Reserved(**json.loads(file.read())))
            except (OSError, ValueError, TypeError):  # it has just begun or ended
                continue
        return held

    def bytes_on(self, device: str, *, used_only: bool = False) -> int:
        """Of a device, together."""
        on_device = (each for each in self.list_all() if each.device == device)
        return sum(each.bytes for each in on_device if each.is_used or not used_only)


def _is_held(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
