"""Rate limits: exact in one process, shared by several, kept up without Redis, and never waiting
for it."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from waiting import eventually

from app.db.session import Database
from app.services.people.rate_limits import RateLimits, TooManyCalls, Windows, parse_limit
from app.services.predictions.backlog import Backlog, TooManyWaiting

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


async def test_the_backlog_refuses_what_is_too_much_and_takes_again_when_it_is_less(
    database: Database,
) -> None:
    user = uuid4()
    with ThreadPoolExecutor(2) as threads:
        backlog = Backlog(database, threads, each=3, all=0)
        for _ in range(3):
            backlog.admit(user)
        with pytest.raises(TooManyWaiting, match="3 of your predictions wait"):
            backlog.admit(user)
        backlog.admit(uuid4())
        for _ in range(300):  # nothing waits in the database: the next count says so
            await asyncio.sleep(0.02)
            try:
                backlog.admit(user)
                return
            except TooManyWaiting:
                continue
    pytest.fail("the backlog did not notice that nothing waits any more")


async def admit_some(backlog: Backlog, user: UUID) -> None:
    """Fewer than may wait; meanwhile the count is read."""
    for _ in range(30):
        backlog.admit(user)
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
            backlog = Backlog(database, threads, each=each, all=everyone)
            with pytest.raises(TooManyWaiting):
                await admit_some(backlog, user)
