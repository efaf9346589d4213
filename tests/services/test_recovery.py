"""Sweeps: what they settle, and what they leave alone."""

import redis
from moving import accepted, claimed, ending, living_worker, now

from app.db import workers
from app.domain.predictions import Status
from app.queue import names
from app.services.assembly import Core


def age(core: Core, seconds: int) -> None:
    """All workers have been silent for so long."""
    with core.database.unit() as session:
        session.connection().exec_driver_sql(f"UPDATE workers SET seen_at = now() - interval '{seconds} s'")


def messages(core: Core, queue: str = "cpu") -> int:
    core.publisher.close()  # sends what waits
    return int(redis.Redis.from_url(core.settings.redis_url).llen(names.KEY_PREFIX + queue))  # type: ignore[arg-type]


def emptied(core: Core) -> None:
    redis.Redis.from_url(core.settings.redis_url).flushall()


def test_a_dead_workers_work_is_retried_with_a_crash_counted(core: Core) -> None:
    running = claimed(core, living_worker(core))
    age(core, 16)
    assert core.recovery().recover_dead() == 1
    found = now(core, running)
    assert (found.status, found.crashes, found.worker) == (Status.STARTING, 1, None)


def test_a_living_workers_work_is_left_alone(core: Core) -> None:
    running = claimed(core, living_worker(core))
    age(core, 10)
    assert core.recovery().recover_dead() == 0
    assert now(core, running).status is Status.PROCESSING


def test_a_worker_declared_dead_learns_it_at_its_next_heartbeat(core: Core) -> None:
    worker = living_worker(core)
    age(core, 60)
    core.recovery().recover_dead()
    with core.database.unit() as session:
        assert workers.beat(session, worker, running=0, models=[]) is False


def test_a_dead_workers_pinned_queue_is_moved_to_its_class(core: Core) -> None:
    living_worker(core)
    stranded = accepted(core, queue="cuda:0@gone")
    waiting = accepted(core, queue="cpu@h")
    core.recovery().recover_dead()
    assert now(core, stranded).queue == "cuda"
    assert now(core, waiting).queue == "cpu@h"


def test_a_wiped_redis_is_noticed_and_everything_waiting_is_rung_again(core: Core) -> None:
    for _ in range(5):
        accepted(core)
    emptied(core)
    assert core.doorbell.was_wiped()
    assert core.recovery().ring_again() == 5
    assert messages(core) >= 5
    assert not core.doorbell.was_wiped()


def test_with_the_marker_there_nothing_is_rung_twice(core: Core) -> None:
    core.doorbell.mark()
    for _ in range(5):
        accepted(core)
    assert core.recovery().ring_again() == 0


def test_work_handed_back_is_rung_by_the_sweep(core: Core) -> None:
    core.doorbell.mark()
    worker = living_worker(core)
    claimed(core, worker)
    core.lifecycle.give_back_all(worker)
    assert core.recovery().ring_again() == 1
    assert core.recovery().ring_again() == 0


def test_a_passed_deadline_ends_as_canceled_with_the_reason(core: Core) -> None:
    late, early = accepted(core, cancel_after=-1), accepted(core, cancel_after=3600)
    assert core.recovery().cancel_overdue() == 1
    assert (now(core, late).status, now(core, late).error) == (Status.CANCELED, "Its deadline (Cancel-After) passed.")
    assert now(core, early).status is Status.STARTING


def test_old_data_and_its_files_are_removed(core: Core) -> None:
    core.settings.retention_hours = 1
    old, new = claimed(core, living_worker(core)), claimed(core, living_worker(core))
    for one in (old, new):
        core.storage.put(f"outputs/{one.id}/1/x.txt", b"x", "text/plain")
        core.lifecycle.finish([ending(one, output={"$file": f"outputs/{one.id}/1/x.txt"})])
    with core.database.unit() as session:
        statement = f"UPDATE predictions SET completed_at = now() - interval '2 h' WHERE id = '{old.id}'"
        session.connection().exec_driver_sql(statement)
    core.recovery().sweep()
    assert now(core, old).output is None
    assert not core.storage.exists(f"outputs/{old.id}/1/x.txt")
    assert core.storage.exists(f"outputs/{new.id}/1/x.txt")
