"""A worker that is stopped past its lease and woken writes nothing, and works on under another name."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from accepting import row
from sqlalchemy import text
from waiting import eventually

from app.composition_core import Core
from app.db import predictions as table
from app.domain.predictions import TERMINAL, Status
from app.events import channels
from app.services.predictions.recovery import SweepLimits
from app.settings import Settings

pytestmark = pytest.mark.chaos
DEAD_AFTER_SECONDS = 2


@pytest.fixture
def start_worker(settings: Settings) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Real worker processes whose silence counts as death after two seconds."""
    running: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> subprocess.Popen[bytes]:
        env = {
            **os.environ,
            "LOVAGE_ENV": "development",
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "SECRET_KEY": settings.secret_key,
            "LOVAGE_DATA_DIR": str(settings.lovage_data_dir),
            "HEARTBEAT_SECONDS": "0.5",
            "DEAD_AFTER_SECONDS": f"{DEAD_AFTER_SECONDS}",
            "WORKER_GRACE_SECONDS": "1",
        }
        command = [sys.executable, "-m", "app", "worker", "--device", "cpu", "--name", name]
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        running.append(process)
        return process

    yield start
    for process in running:
        process.send_signal(signal.SIGCONT)
        process.terminate()
    for process in running:
        process.wait(30)


def test_a_woken_zombie_writes_nothing_and_works_on(core: Core, echo: str, start_worker: Any) -> None:
    def now(prediction_id: str) -> Any:
        with core.database.unit() as session:
            return table.get(session, [prediction_id])[prediction_id]

    def workers() -> list[Any]:
        with core.database.unit() as session:
            return list(session.execute(text("SELECT id, pid, stopped_at FROM workers ORDER BY started_at")))

    def written() -> list[Any]:
        """All that could change: the row, its kept events, its webhooks, its files."""
        with core.database.unit() as session:
            outbox = session.execute(text("SELECT id, body FROM deliveries ORDER BY id")).all()
        events = core.redis.xrange(channels.kept(first))
        return [
            now(first),
            [frame for frame in events if frame[1][b"f"]],
            outbox,
            list(core.storage.list("")),
        ]

    zombie = start_worker("1")
    given = {"text": "x", "seconds": 4, "file": True}
    (first,) = core.lifecycle.accept(
        [{**row(echo, **given), "webhook": "http://127.0.0.1:1/", "webhook_events": ["completed"]}]
    )
    eventually(lambda: now(first).status is Status.PROCESSING, 60)
    time.sleep(0.5)  # the model has it
    zombie.send_signal(signal.SIGSTOP)
    start_worker("2")
    eventually(lambda: now(first).ended, 60)
    assert (now(first).status, now(first).attempt) == (Status.SUCCEEDED, 2)
    before, known = written(), {one.id for one in workers()}
    zombie.send_signal(signal.SIGCONT)
    eventually(lambda: any(one.pid == zombie.pid and one.id not in known for one in workers()), 60)
    time.sleep(2)
    assert written() == before
    second = list(core.lifecycle.accept([row(echo, text=str(n), seconds=0.5) for n in range(20)]))
    eventually(lambda: all(now(one).ended for one in second), 60)
    new = next(one.id for one in workers() if one.pid == zombie.pid and one.id not in known)
    by = {now(one).worker for one in second}
    assert all(now(one).status is Status.SUCCEEDED for one in second)
    assert new in by or len(by) == 1, "the woken worker claims again, unless the other was quicker with all"


def test_a_worker_that_slept_past_its_lease_cancels_nothing(
    core: Core, settings: Settings, echo: str, start_worker: Any
) -> None:
    """The only one, under load: it wakes, claims what waits under its old name, and learns then that it was
    declared dead. Up to 40 of 40 ended as canceled, though nobody had asked for that."""

    def statuses() -> Counter[Status]:
        with core.database.unit() as session:
            return Counter(each.status for each in table.get(session, ids).values())

    worker = start_worker("1")
    rows = [row(echo, text=str(n), seconds=2) for n in range(40)]
    ids = list(core.lifecycle.accept(rows))
    eventually(lambda: statuses()[Status.PROCESSING] > 0, 60)
    worker.send_signal(signal.SIGSTOP)
    time.sleep(DEAD_AFTER_SECONDS + 1)
    recovery = replace(core, limits=SweepLimits(DEAD_AFTER_SECONDS, 0)).recovery()
    assert recovery.recover_dead() > 0
    assert statuses()[Status.PROCESSING] == 0
    worker.send_signal(signal.SIGCONT)
    eventually(lambda: sum(statuses()[status] for status in TERMINAL) == 40, 120)
    assert statuses() == {Status.SUCCEEDED: 40}
