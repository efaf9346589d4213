"""Threads that users share."""

import threading
from collections.abc import Iterator

import pytest
from waiting import eventually

from app.worker.fair_pool import FairPool


@pytest.fixture
def pool() -> Iterator[FairPool]:
    made = FairPool(8, "test")
    yield made
    made.close()


def test_one_users_slow_calls_leave_threads_for_another(pool: FairPool) -> None:
    release, begun = threading.Event(), []
    slow = [pool.submit("mallory", lambda: (begun.append(1), release.wait(10))) for _ in range(20)]
    eventually(lambda: len(begun) == 4)
    for other in ("ada", None, "bob", None):
        pool.submit(other, lambda: None).result(2)
    assert len(begun) == 4, "half of them, and no more"
    release.set()
    for future in slow:
        future.result(5)
    assert len(begun) == 20


def test_a_call_that_is_canceled_before_its_turn_never_runs(pool: FairPool) -> None:
    release, ran = threading.Event(), []
    first = [pool.submit("ada", lambda: release.wait(10)) for _ in range(4)]
    waiting = pool.submit("ada", lambda: ran.append("canceled"))
    after = pool.submit("ada", lambda: ran.append("run"))
    assert waiting.cancel()
    release.set()
    after.result(5)
    assert [future.result(5) for future in first] == [None] * 4
    assert ran == ["run"]


def test_what_a_call_raises_is_its_own(pool: FairPool) -> None:
    with pytest.raises(ZeroDivisionError):
        pool.submit("ada", lambda: 1 // 0).result(2)
    pool.submit("ada", lambda: None).result(2)
