"""A second worker of one name on one machine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import pytest

from app.db import workers
from app.domain.workers import NewWorker
from app.worker.namesake import NameTaken, refuse_namesake

DEAD_AFTER = 60.0
SLEEP = [sys.executable, "-c", "import time; time.sleep(100)"]


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """One that looks like a worker's."""
    started = subprocess.Popen([*SLEEP, "worker"])
    yield started
    started.kill()
    started.wait()


def register(database, pid: int, queues: list[str]) -> None:
    row = NewWorker(
        id=uuid4(),
        host="here",
        pid=pid,
        device="cpu",
        device_class="cpu",
        device_facts={},
        queues=queues,
        slots=1,
    )
    with database.unit() as session:
        workers.register(session, row)


def test_a_namesake_that_runs_is_named(database, process) -> None:
    register(database, process.pid, ["cpu@here"])
    with pytest.raises(NameTaken, match=rf"cpu@here runs .* process {process.pid}.*--name"):
        refuse_namesake(database, "cpu@here", DEAD_AFTER)
    refuse_namesake(database, "cpu@here-2", DEAD_AFTER)


def test_one_that_was_killed_is_replaced_though_its_heartbeat_is_fresh(database, process) -> None:
    register(database, process.pid, ["cpu@here"])
    process.kill()
    process.wait()
    refuse_namesake(database, "cpu@here", DEAD_AFTER)


def test_one_that_stops_and_one_whose_number_is_another_programs_are_replaced(database, process) -> None:
    register(database, process.pid, [])
    register(database, os.getpid(), ["cpu@here"])
    other = subprocess.Popen(SLEEP)
    try:
        register(database, other.pid, ["cpu@here"])
        refuse_namesake(database, "cpu@here", DEAD_AFTER)
    finally:
        other.kill()
        other.wait()
