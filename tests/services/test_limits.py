"""Rate limits: exact in one process, shared by several, kept up without Redis, and never waiting
for it."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waiting import eventually

from app.db.session import Database
from app.services.people.rate_limits import RateLimits, TooManyCalls, Windows, parse_limit
from app.services.people.sliding_window import SlidingWindow
from app.services.predictions.backlog import Backlog, BacklogLimits, TooManyWaiting

NOWHERE = "redis://127.0.0.1:1"


def limits_of(redis_url: str, text: str) -> RateLimits:
    return RateLimits(Windows(redis_url), {"calls": parse_limit(text), "off": parse_limit("")})


def let_in(limits: RateLimits, caller: str, tries: int) -> int:
    count = 0
    for _ in range(tries):
        try:
            limits.count("calls", caller)
            count += 1
        except TooManyCalls:
            pass
    return count


@pytest.mark.parametrize("with_redis", [True, False])
def test_one_process_lets_nobody_over_the_limit(servers, with_redis: bool) -> None:
    limits = limits_of(servers.redis_url if with_redis else NOWHERE, "20/minute")
    caller = str(uuid4())
    assert let_in(limits, caller, 15) == 15
    time.sleep(0.2)  # reported meanwhile
    assert let_in(limits, caller, 15) == 5
    assert let_in(limits, str(uuid4()), 1) == 1, "another caller is not concerned"
    limits.close()


def test_processes_share_a_limit_through_redis(servers) -> None:
    caller = str(uuid4())
    first, second = limits_of(servers.redis_url, "20/minute"), limits_of(servers.redis_url, "20/minute")
    assert let_in(first, caller, 20) == 20
    time.sleep(0.3)
    let_in(second, caller, 1)  # learns with its first report what the other has let in
    eventually(lambda: let_in(second, caller, 1) == 0)
    first.close()
    second.close()


def test_room_comes_back_with_time(servers) -> None:
    limits, caller = limits_of(servers.redis_url, "5/second"), str(uuid4())
    assert let_in(limits, caller, 9) == 5
    eventually(lambda: let_in(limits, caller, 1) == 1)
    limits.close()


def test_the_refusal_says_when_and_how_much(servers) -> None:
    limits, caller = limits_of(servers.redis_url, "3/minute"), str(uuid4())
    standing = limits.count("calls", caller)
    assert standing is not None
    assert dict(standing.headers())[b"ratelimit"].startswith(b'"calls";r=2;t=')
    assert dict(standing.headers())[b"ratelimit-policy"] == b'"calls";q=3;w=60'
    let_in(limits, caller, 2)
    with pytest.raises(TooManyCalls, match="3 in 60 s") as told:
        limits.count("calls", caller)
    assert 1 <= (told.value.retry_after or 0) <= 60
    assert limits.count("off", caller) is None
    limits.close()


def test_a_redis_that_does_not_answer_keeps_no_caller_waiting() -> None:
    limits = limits_of("redis://10.255.255.1:6379", "1000/minute")  # nobody answers there
    began = time.monotonic()
    assert let_in(limits, "someone", 500) == 500
    assert time.monotonic() - began < 3
    limits.close()


WINDOWS = st.builds(
    lambda amount, left, seconds, previous, current: SlidingWindow(
        amount, seconds, min(previous, amount), left * seconds, min(current, amount), (1 + left) * seconds
    ),
    st.integers(1, 3_000),
    st.floats(0.01, 1),
    st.sampled_from([1, 60, 3_600]),
    st.integers(0, 3_000),
    st.integers(0, 3_000),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(WINDOWS, st.integers(1, 3_000))
def test_after_the_seconds_of_a_refusal_so_many_are_let_in_and_not_much_earlier(
    window: SlidingWindow, calls: int
) -> None:
    calls = min(calls, window.amount)
    seconds = window.seconds_until(calls, 0.0)
    assert window.left(seconds + window.seconds * 1e-6) >= calls
    assert seconds < window.seconds * 0.001 or window.left(seconds - window.seconds * 0.001) < calls


@pytest.mark.parametrize("with_redis", [True, False])
def test_who_waits_as_long_as_a_refusal_says_is_let_in(servers, with_redis: bool) -> None:
    limits = limits_of(servers.redis_url if with_redis else NOWHERE, "5/second")
    caller = str(uuid4())
    for _ in range(2):
        let_in(limits, caller, 6)
        eventually(lambda: not limits._counts["calls", caller].pending)
        let_in(limits, caller, 5)
        with pytest.raises(TooManyCalls) as refused:
            limits.count("calls", caller)
        time.sleep(refused.value.retry_after or 0)
        limits.count("calls", caller)
    limits.close()


async def test_the_backlog_refuses_what_is_too_much_and_takes_again_when_it_is_less(
    database: Database,
) -> None:
    user = uuid4()
    with ThreadPoolExecutor(2) as threads:
        backlog = Backlog(database, threads, BacklogLimits(each=3))
        for _ in range(3):
            backlog.admit(user, 1)
        with pytest.raises(TooManyWaiting, match="3 of your predictions wait"):
            backlog.admit(user, 1)
        backlog.admit(uuid4(), 1)
        for _ in range(300):  # nothing waits in the database: the next count says so
            await asyncio.sleep(0.02)
            try:
                backlog.admit(user, 1)
                return
            except TooManyWaiting:
                continue
    pytest.fail("the backlog did not notice that nothing waits any more")


async def admit_some(backlog: Backlog, user: UUID) -> None:
    """Fewer than may wait; meanwhile the count is read."""
    for _ in range(30):
        backlog.admit(user, 1)
        await asyncio.sleep(0.1)


async def test_the_backlog_counts_what_waits_in_the_database(database: Database) -> None:
    from sqlalchemy import text

    user = uuid4()
    insert = text(
        "INSERT INTO predictions (id, user_id, version_id, model, queue) SELECT lpad(n::text, 26, '0'),"
        " :user, 'v', 'a/b', 'cpu' FROM generate_series(1, 50) n"
    )
    with database.unit() as session:
        session.execute(insert, {"user": user})
    with ThreadPoolExecutor(2) as threads:
        for each, everyone in ((40, 0), (0, 40)):
            backlog = Backlog(database, threads, BacklogLimits(each, everyone))
            with pytest.raises(TooManyWaiting):
                await admit_some(backlog, user)
