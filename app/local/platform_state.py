"""`up.json`: what other commands need to know of a running platform (where it listens, who runs it), and
whether it runs.

Knows the file and the launcher's lock. Does not know how anything is started or stopped.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from app.local.locks import FileLock, launcher_lock_path
from app.local.secret_file import write_private

FILE_NAME = "up.json"


@dataclasses.dataclass(frozen=True)
class Platform:
    """A running platform. The file has mode 0600, as the URLs hold passwords; `repr` leaves them out.
    `notice`: a sentence for whoever starts it, "" for none."""

    pid: int
    data_dir: str
    api_url: str
    flower_url: str
    devices: tuple[str, ...]
    started_at: str
    key_file: str
    flower_user: str
    flower_password: str = dataclasses.field(repr=False)
    database_url: str = dataclasses.field(repr=False)
    redis_url: str = dataclasses.field(repr=False)
    secret_key: str = dataclasses.field(repr=False)
    notice: str = ""


def write_platform(platform: Platform) -> None:
    """Write the file for the other commands."""
    write_private(
        Path(platform.data_dir) / FILE_NAME, json.dumps(dataclasses.asdict(platform), indent=2) + "\n"
    )


def forget_platform(data_dir: Path) -> None:
    """Remove the file. The caller holds the launcher's lock."""
    (data_dir / FILE_NAME).unlink(missing_ok=True)


def is_running(data_dir: Path) -> bool:
    """Whether a launcher holds the directory, ready or not."""
    if not launcher_lock_path(data_dir).exists():
        return False
    lock = FileLock.try_acquire(launcher_lock_path(data_dir))
    if lock is None:
        return True
    lock.close()
    return False


def read_platform(data_dir: Path) -> Platform | None:
    """The platform that is running and ready on `data_dir`, or None."""
    if not is_running(data_dir):
        return None
    try:
        fields = json.loads((data_dir / FILE_NAME).read_text())
        return Platform(**{**fields, "devices": tuple(fields["devices"])})
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # not there yet, or another version's
        return None
