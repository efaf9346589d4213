"""Whoever is idle takes everything that waits: everyone is answered once, and nobody pays when alone."""

import asyncio
import threading
import time
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import coalesce
from app.coalesce import GROUP_BYTES, Coalescer, GroupSizeError, ThreadCoalescer, next_group


@given(st.lists(st.integers()), st.integers(1, 10))
def test_groups_are_the_oldest_first_and_bounded(items: list[int], limit: int) -> None:
    waiting = deque(items)
    groups = []
    while group := next_group(waiting, limit):
        groups.append(group)
    assert [item for group in groups for item in group] == items
    assert all(len(group) <= limit for group in groups)


@given(st.lists(st.integers(0, 2 * GROUP_BYTES)), st.integers(1, 10))
def test_groups_are_bounded_by_bytes_and_what_is_larger_goes_alone(sizes: list[int], limit: int) -> None:
    waiting, groups = deque(sizes), []
    while group := next_group(waiting, limit, lambda size: size):
        groups.append(group)
    assert [size for group in groups for size in group] == sizes
    assert all(sum(group) <= GROUP_BYTES or len(group) == 1 for group in groups)
    assert all(len(group) <= limit for group in groups)


async def test_one_call_of_128_large_items_is_no_group_of_a_gigabyte() -> None:
    """`n: 128` of 10 MB was one INSERT of 1.28 GB."""
    groups: list[list[int]] = []

    async def run(sizes: list[int]) -> list[int]:
        groups.append(sizes)
        await asyncio.sleep(0)
        return sizes

    hop = Coalescer(run, limit=128, lanes=2, size_of=lambda size: size)
    await asyncio.gather(*(hop(10_000_000) for _ in range(128)), *(hop(1_000) for _ in range(100)))
    assert max(sum(group) for group in groups) == 10_000_000
    assert len(groups) == 128 + 1


class Refused(Exception):
    """Of a hop that is there and does not take a group."""


async def test_a_refused_group_is_halved_until_the_one_at_fault_is_alone() -> None:
    async def run(items: list[int]) -> list[int]:
        await asyncio.sleep(0)
        if 5 in items:
            raise Refused
        return items

    hop = Coalescer(run, limit=8, halve_on=(Refused,))
    answers = await asyncio.gather(*(hop(n) for n in range(8)), return_exceptions=True)
    assert [n for n, answer in enumerate(answers) if isinstance(answer, Refused)] == [5]
    assert [answer for answer in answers if not isinstance(answer, Refused)] == [0, 1, 2, 3, 4, 6, 7]


async def test_a_refusal_that_takes_long_is_answered_with_before_every_half_has_taken_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coalesce, "HALVE_SECONDS", 0.05)
    tried: list[int] = []

    async def run(items: list[int]) -> list[int]:
        tried.append(len(items))
        await asyncio.sleep(0.03)
        raise Refused

    hop = Coalescer(run, limit=64, halve_on=(Refused,))
    answers = await asyncio.gather(*(hop(n) for n in range(64)), return_exceptions=True)
    assert all(isinstance(answer, Refused) for answer in answers)
    assert len(tried) < 10


async def test_what_waits_while_one_runs_is_the_next_group() -> None:
    groups: list[list[int]] = []

    async def run(items: list[int]) -> list[int]:
        groups.append(items)
        await asyncio.sleep(0.02)
        return [item * 2 for item in items]

    hop = Coalescer(run, limit=5)
    answers = await asyncio.gather(*(hop(n) for n in range(12)))
    assert answers == [n * 2 for n in range(12)]
    assert [len(group) for group in groups] == [5, 5, 2]


async def test_a_failure_reaches_everyone_of_its_group_and_nobody_else() -> None:
    async def run(items: list[int]) -> list[int]:
        await asyncio.sleep(0)
        if 3 in items:
            raise ValueError("three")
        return items

    hop = Coalescer(run, limit=2)
    answers = await asyncio.gather(*(hop(n) for n in range(6)), return_exceptions=True)
    assert [isinstance(answer, ValueError) for answer in answers] == [False, False, True, True, False, False]


async def test_a_group_with_another_number_of_answers_fails() -> None:
    async def run(items: list[int]) -> list[int]:
        return items[1:]

    with pytest.raises(GroupSizeError, match="1 came back with 0"):
        await Coalescer(run)(1)


async def test_close_waits_for_what_was_accepted_and_a_cancelled_waiter_harms_nobody() -> None:
    done: list[int] = []

    async def run(items: list[int]) -> list[int]:
        await asyncio.sleep(0.05)
        done.extend(items)
        return items

    hop = Coalescer(run)
    tasks = [asyncio.create_task(hop(n)) for n in range(4)]
    await asyncio.sleep(0.01)
    tasks[2].cancel()
    await hop.close()
    assert sorted(done) == [0, 1, 2, 3]
    assert await asyncio.gather(tasks[0], tasks[1], tasks[3]) == [0, 1, 3]


def test_threads_are_each_answered_once_in_groups() -> None:
    groups: list[int] = []

    def run(items: list[int]) -> list[int]:
        groups.append(len(items))
        time.sleep(0.002)
        return [item + 1 for item in items]

    hop = ThreadCoalescer(run, limit=16)
    answers: dict[int, int] = {}
    threads = [threading.Thread(target=lambda n=n: answers.__setitem__(n, hop(n))) for n in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: n + 1 for n in range(200)}
    assert sum(groups) == 200
    assert max(groups) <= 16
    assert len(groups) < 200
    assert hop.close(1)


def test_a_lone_call_runs_in_its_own_thread() -> None:
    assert (
        ThreadCoalescer(lambda items: [threading.current_thread().name] * len(items))("x")
        == threading.current_thread().name
    )


def test_a_failure_of_a_group_reaches_the_threads_of_it() -> None:
    def run(items: list[int]) -> list[int]:
        if 0 in items:
            raise ValueError("zero")
        return items

    hop = ThreadCoalescer(run, limit=1)
    assert hop(5) == 5
    with pytest.raises(ValueError, match="zero"):
        hop(0)
    assert hop(6) == 6


def test_close_says_whether_everything_was_answered_in_time() -> None:
    begun = threading.Event()

    def run(items: list[int]) -> list[int]:
        begun.set()
        time.sleep(0.3)
        return items

    hop = ThreadCoalescer(run)
    caller = threading.Thread(target=hop, args=(1,))
    caller.start()
    assert begun.wait(5)
    assert hop.close(0.01) is False
    assert hop.close(5) is True
    caller.join()
