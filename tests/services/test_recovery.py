"""Sweeps: what they move, and what they leave alone."""

import os
import time
from dataclasses import replace
from uuid import uuid4

import pytest
import redis
from moving import accepted, claimed, ending, living_worker, now, row
from sqlalchemy import text
from waiting import eventually

from app.broker import names
from app.composition_core import Core
from app.db import sweeps, workers
from app.domain.errors import StorageFailed, Unavailable
from app.domain.predictions import Status
from app.services.platform.fleet import worker_facts
from app.services.predictions.queue_rebalance import Rebalancer


def age(core: Core, seconds: int) -> None:
    """All workers have been silent for so long."""
    with core.database.unit() as session:
        session.connection().exec_driver_sql(f"UPDATE workers SET seen_at = now() - interval '{seconds} s'")


def messages(core: Core, queue: str = "cpu") -> int:
    core.publisher.close()  # sends what waits
    return int(core.redis.llen(names.queue_key(queue)))  # type: ignore[arg-type]


def emptied(core: Core) -> None:
    core.redis.flushall()


def test_a_dead_workers_work_is_retried_with_a_crash_counted(core: Core) -> None:
    running = claimed(core, living_worker(core))
    age(core, 16)
    assert core.recovery().recover_dead() == 1
    found = now(core, running)
    assert (found.status, found.crashes, found.worker) == (Status.STARTING, 1, None)


def test_the_sweep_deletes_lists_that_no_worker_reads_and_what_waits_there_is_in_postgres(core: Core) -> None:
    living_worker(core)
    elsewhere = accepted(core, queue="mps")
    eventually(lambda: core.redis.llen(names.queue_key("mps")))
    core.redis.lpush(names.queue_key("cpu"), "x")
    core.recovery().recover_dead()
    assert core.redis.exists(names.queue_key("mps")) == 0
    assert core.redis.exists(names.queue_key("cpu")) == 1
    assert now(core, elsewhere).status is Status.STARTING


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
        assert workers.beat(session, worker, running=0, models=[]) is None


def test_a_dead_workers_pinned_queue_is_moved_to_its_class(core: Core) -> None:
    living_worker(core)
    unread = accepted(core, queue="cuda:0@gone")
    waiting = accepted(core, queue="cpu@h")
    core.recovery().recover_dead()
    assert now(core, unread).queue == "cuda"
    assert now(core, waiting).queue == "cpu@h"


def test_what_requires_more_than_its_class_waits_for_a_worker_that_has_it(core: Core) -> None:
    routing = {"strategy": "least-loaded", "requires": {"memory_bytes": 40}}
    living_worker(core, "cuda")
    unread = accepted(core, queue="cuda:0@gone", routing=routing)
    simple = accepted(core, queue="cuda:0@gone")
    core.recovery().recover_dead()
    assert (now(core, unread).queue, now(core, simple).queue) == ("unplaced", "cuda")
    living_worker(core, "rocm", total_bytes=64)
    core.recovery().recover_dead()
    assert now(core, unread).queue == "rocm"


def test_what_is_pinned_to_a_worker_waits_for_it(core: Core) -> None:
    pinned = accepted(
        core, queue="cuda:0@gone", routing={"strategy": "pinned", "requires": {"device": "cuda:0@gone"}}
    )
    core.recovery().recover_dead()
    assert now(core, pinned).queue == "cuda:0@gone"


def test_a_class_without_a_worker_for_a_while_is_left_unless_it_is_required(core: Core) -> None:
    living_worker(core, "cuda")
    free = accepted(core, queue="cuda")
    bound = accepted(core, queue="cuda", routing={"strategy": "class", "requires": {"device": "cuda"}})
    age(core, 30)
    living_worker(core)
    core.recovery().recover_dead()
    assert now(core, free).queue == "cuda"
    age(core, 90)
    living_worker(core, "rocm")
    core.recovery().recover_dead()
    assert (now(core, free).queue, now(core, bound).queue) == ("rocm", "cuda")


def test_a_long_queue_is_looked_through_bit_by_bit_again_and_again(core: Core) -> None:
    living_worker(core, "cuda")
    bound = [accepted(core, queue="cuda:0@gone", routing={"strategy": "pinned"}) for _ in range(5)]
    free = [accepted(core, queue="cuda:0@gone") for _ in range(3)]
    rebalancer = Rebalancer(2)

    def moves(times: int) -> list[int]:
        moved = []
        for _ in range(times):
            with core.database.unit() as session:
                moved.append(
                    rebalancer.move(session, [worker_facts(row) for row in workers.live(session, 15)])
                )
        return moved

    moved = moves(6)
    assert moved[:4] == [0, 0, 3, 0]
    assert {now(core, one).queue for one in bound} == {"cuda:0@gone"}
    assert {now(core, one).queue for one in free} == {"cuda"}
    accepted(core, queue="cuda:0@gone")
    assert sum(moves(6)) == 1, "it begins again at the front"


def test_a_draining_workers_queue_is_emptied_at_once(core: Core) -> None:
    worker = living_worker(core)
    waiting = accepted(core, queue="cpu@h")
    with core.database.unit() as session:
        workers.drain(session, worker)
        assert workers.beat(session, worker, running=1, models=[]) == []
    core.recovery().recover_dead()
    assert now(core, waiting).queue == "cpu"


def test_a_wiped_redis_is_noticed_and_everything_waiting_is_notified_of_again(core: Core) -> None:
    for _ in range(5):
        accepted(core)
    emptied(core)
    assert core.redis_marker.is_missing()
    assert core.recovery().notify_again() == 5
    assert messages(core) >= 5
    assert not core.redis_marker.is_missing()


def test_with_the_marker_there_nothing_is_notified_of_twice(core: Core) -> None:
    core.redis_marker.set()
    for _ in range(5):
        accepted(core)
    assert core.recovery().notify_again() == 0


def test_work_handed_back_is_notified_of_by_the_sweep(core: Core) -> None:
    core.redis_marker.set()
    worker = living_worker(core)
    claimed(core, worker)
    core.lifecycle.hand_back_all(worker)
    assert core.recovery().notify_again() == 1
    assert core.recovery().notify_again() == 0


def test_a_passed_deadline_ends_as_canceled_with_the_reason(core: Core) -> None:
    late, early = accepted(core, cancel_after=-1), accepted(core, cancel_after=3600)
    assert core.recovery().cancel_overdue() == 1
    assert (now(core, late).status, now(core, late).error) == (
        Status.CANCELED,
        "Its deadline (Cancel-After) passed.",
    )
    assert now(core, early).status is Status.STARTING


def test_a_deadline_that_passes_in_mid_run_is_the_reason_too(core: Core) -> None:
    running = claimed(core, living_worker(core), cancel_after=3600)
    with core.database.unit() as session:
        session.execute(text("UPDATE predictions SET deadline = now() - interval '1 s'"))
    assert core.recovery().cancel_overdue() == 1
    marked = now(core, running)
    assert (marked.status, marked.cancel_requested) == (Status.PROCESSING, True)
    assert core.view.render(marked)["error"] is None, "it has not ended yet"
    core.lifecycle.finish([ending(running, Status.CANCELED)])
    assert (now(core, running).status, now(core, running).error) == (
        Status.CANCELED,
        "Its deadline (Cancel-After) passed.",
    )


def test_old_data_and_its_files_are_removed(core: Core) -> None:
    core.limits = replace(core.limits, retention_hours=1)
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


def test_one_process_sweeps_at_a_time(core: Core) -> None:
    overdue = accepted(core, cancel_after=0.01)
    time.sleep(0.05)
    with core.database.unit() as session:
        assert sweeps.lock_sweep(session)
        core.recovery().sweep()
        assert now(core, overdue).status is Status.STARTING, "somebody else is at it"
    core.recovery().sweep()
    assert now(core, overdue).status is Status.CANCELED


EXPIRED_FILE = """
    INSERT INTO files (id, name, content_type, size, sha256, md5, storage_key, expires_at)
    VALUES ('x', 'x', 'x', 1, 'x', 'x', 'x', now() - interval '1 h')"""


def test_a_storage_that_is_down_keeps_nobody_from_being_recovered(core: Core) -> None:
    with core.database.unit() as session:
        session.execute(text(EXPIRED_FILE))

    class Broken:
        def delete(self, keys: object) -> None:
            raise StorageFailed("The storage is down.")

    recovery = core.recovery()
    recovery.expiry._storage = Broken()  # type: ignore[assignment]
    recovery._in_touch_since = time.monotonic() - 100
    running = claimed(core, uuid4())
    recovery.sweep()
    assert now(core, running).status is Status.STARTING


def test_a_storage_that_is_slow_keeps_no_other_process_from_sweeping(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "SWEEP_LONGEST", "400ms")
    with core.database.unit() as session:
        session.execute(text(EXPIRED_FILE))
    others_may = []

    class Slow:
        def delete(self, keys: object) -> None:
            time.sleep(0.9)  # longer than a lock lasts
            with core.database.unit() as session:
                others_may.append(sweeps.lock_sweep(session))

    recovery = core.recovery()
    recovery.expiry._storage = Slow()  # type: ignore[assignment]
    recovery.sweep()
    assert others_may == [True]
    assert recovery._in_touch_since is not None, "the database was there all the time"


def test_expired_uploads_lose_their_content_and_their_row(core: Core) -> None:
    core.storage.put("uploads/old", b"x", "text/plain")
    core.storage.put("uploads/new", b"x", "text/plain")
    insert = "INSERT INTO files (id, name, content_type, size, sha256, md5, storage_key, expires_at) VALUES "
    with core.database.unit() as session:
        session.execute(text(insert + "('a', 'x', 'x', 1, 'x', 'x', 'uploads/old', now() - interval '1 s')"))
        session.execute(text(insert + "('b', 'x', 'x', 1, 'x', 'x', 'uploads/new', now() + interval '1 h')"))
    core.recovery().sweep()
    assert list(core.storage.list("uploads/")) == ["uploads/new"]
    with core.database.unit() as session:
        assert session.execute(text("SELECT id FROM files")).scalars().all() == ["b"]


def test_removed_data_leaves_no_copy_in_the_outbox(core: Core) -> None:
    running = claimed(core, living_worker(core), webhook="http://receiver.test/", input={"text": "secret"})
    core.lifecycle.finish([ending(running, output="secret")])
    core.lifecycle.remove_data([running.id])
    with core.database.unit() as session:
        assert session.execute(text("SELECT count(*) FROM deliveries")).scalar_one() == 0


def test_a_wiped_redis_is_notified_of_ten_thousand_in_seconds(core: Core) -> None:
    """The bar is 10 s; a quiet machine takes well under one."""
    core.lifecycle.accept([row() for _ in range(10_000)])
    connection = core.redis
    eventually(lambda: connection.llen(names.queue_key("cpu")) >= 10_000)
    connection.flushall()
    began = time.monotonic()
    assert core.recovery().notify_again() == 10_000
    eventually(lambda: connection.llen(names.queue_key("cpu")) >= 10_000)
    print(f"published again within {time.monotonic() - began:.2f} s")
    assert core.recovery().notify_again() == 0, "their messages are in Redis"


ROWS = int(os.environ.get("LOVAGE_WAITING_ROWS", "100000"))  # the promise speaks of a million
MANY_MORE = """
    INSERT INTO predictions (id, version_id, model, queue, routing, input, notified_at)
    SELECT :prefix || lpad(n::text, 16, '0'), version_id, model, queue, routing, input, now()
    FROM predictions, generate_series(1, :number) AS n WHERE id = :like"""


def test_what_waits_with_its_message_in_redis_is_notified_of_no_second_time(core: Core) -> None:
    living_worker(core)
    first = accepted(core)
    assert messages(core) >= 1
    core.redis_marker.set()
    with core.database.unit() as session:
        session.execute(text("SET LOCAL statement_timeout = 0"))
        session.execute(text(MANY_MORE), {"prefix": first.id[:10], "number": ROWS, "like": first.id})
    connection = core.redis
    before, times = published(connection), []
    for recovery in (
        core.recovery(),
        core.recovery(),
    ):  # one that goes on, and one of a process that was started just now
        recovery._in_touch_since = time.monotonic() - 100
        for _ in range(3):
            began = time.monotonic()
            recovery.sweep()
            times.append(time.monotonic() - began)
            assert recovery.notify_again() == 0
    print(
        f"{ROWS:,} waiting: a sweep takes {sorted(times)[len(times) // 2] * 1000:.0f} ms, at most"
        f" {max(times) * 1000:.0f} ms"
    )
    assert published(connection) == before
    assert max(times) < 5


def published(connection: redis.Redis) -> int:
    """How often anybody has put a message into Redis so far."""
    found = connection.info("commandstats").get("cmdstat_lpush", {})  # type: ignore[union-attr]
    return int(found.get("calls", 0))


def test_a_sweeper_that_was_frozen_keeps_the_others_waiting_for_seconds_only(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "SWEEP_LONGEST", "200ms")

    def others_may() -> bool:
        with core.database.unit() as session:
            return sweeps.lock_sweep(session)

    def frozen() -> None:
        with core.database.unit() as session:
            assert sweeps.lock_sweep(session)
            assert not others_may()
            eventually(others_may)

    with pytest.raises(Unavailable):
        frozen()
