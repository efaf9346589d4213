"""Refuses a second worker of one name on one machine: they would read one queue of their own, so that nobody
could tell them apart, drain one or be sent to one.

Whose process is of another machine, or of another container, cannot be looked at, and is let be.
"""

import os

import psutil

from app.db import workers
from app.db.session import Database
from app.domain.errors import LovageError


class NameTaken(LovageError):
    """Another worker of this name runs on this machine."""


def refuse_namesake(database: Database, name: str, dead_after: float) -> None:
    """`name` as Worker's. One that was killed has sent a heartbeat lately, and has no process any more; one
    that stops reads no queue. Raises NameTaken, Unavailable."""
    with database.unit() as session:
        live = workers.live(session, dead_after)
    for worker in live:
        if worker.name == name and not worker.is_draining and _is_worker(worker.pid):
            raise NameTaken(
                f"{name} runs on this machine already, as process {worker.pid}: give this worker a name of"
                " its own (`lovage worker --name second`)."
            )


def _is_worker(pid: int) -> bool:
    """Whether it is another process than this one, and a worker's: numbers of processes are used again."""
    try:
        return pid != os.getpid() and "worker" in psutil.Process(pid).cmdline()
    except (psutil.Error, ValueError):
        return False
