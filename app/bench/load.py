"""The two kinds of load. Closed: so many callers, each sends when it has its answer. Open: arrivals at a
rate, whatever the platform does; an open loop's times count from when a prediction was due, so that a stall
delays nobody's clock.

Knows callers and time. Does not know what the figures are for.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count as counting

from app.bench.caller import Caller, Sample

# Of an open loop: beyond it the platform has lost the race, and this process would follow it.
MOST_IN_FLIGHT = 2_000
NOT_SENT = f"not sent: {MOST_IN_FLIGHT} were in flight"

OnEnded = Callable[[int], None]  # how many predictions have ended


@dataclass(frozen=True)
class Amount:
    """How much one run sends: a count, or seconds of sending."""

    count: int | None = None
    seconds: float | None = None


@dataclass
class Raw:
    """What one run gave. `seconds` from the first prediction sent to the last one's end."""

    seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list)


async def closed(
    make: Callable[[], Caller], requests: Sequence[bytes], callers: int, amount: Amount, on_ended: OnEnded
) -> Raw:
    """`callers` at once."""
    raw = Raw()
    async with _opened(make, callers) as all_callers:
        numbers = counting()
        began = time.perf_counter()

        async def work(caller: Caller) -> None:
            for number in numbers:
                if amount.count is not None and number >= amount.count:
                    return
                if amount.seconds is not None and time.perf_counter() - began >= amount.seconds:
                    return
                raw.samples.append(await caller.predict(requests[number % len(requests)]))
                on_ended(len(raw.samples))

        await asyncio.gather(*(work(caller) for caller in all_callers))
        raw.seconds = time.perf_counter() - began
    return raw


def arrivals(rate: float, amount: Amount, seed: int) -> list[float]:
    """When each prediction of an open loop is due, in seconds: a Poisson process, the same for the same
    seed."""
    generator, now = random.Random(seed), 0.0
    due: list[float] = []
    while len(due) < (amount.count or float("inf")) and (amount.seconds is None or now < amount.seconds):
        due.append(now)
        now += generator.expovariate(rate)
    return due


async def open_loop(
    make: Callable[[], Caller], requests: Sequence[bytes], due: Sequence[float], on_ended: OnEnded
) -> Raw:
    """Predictions at the times `due`, in seconds from the beginning."""
    raw = Raw()
    idle: list[Caller] = []
    running: set[asyncio.Task[None]] = set()
    began = time.perf_counter()

    async def predict(number: int) -> None:
        caller = idle.pop() if idle else make()
        try:
            raw.samples.append(await caller.predict(requests[number % len(requests)], began + due[number]))
        finally:
            idle.append(caller)
        on_ended(len(raw.samples))

    try:
        for number, moment in enumerate(due):
            await asyncio.sleep(max(0.0, began + moment - time.perf_counter()))
            if len(running) >= MOST_IN_FLIGHT:
                raw.samples.append(Sample(0.0, NOT_SENT))
                continue
            task = asyncio.create_task(predict(number))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
        raw.seconds = time.perf_counter() - began
    finally:
        await _end(running)
        for caller in idle:
            caller.connection.close()
    return raw


async def _end(running: set[asyncio.Task[None]]) -> None:
    left = list(running)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


@asynccontextmanager
async def _opened(make: Callable[[], Caller], number: int) -> AsyncIterator[list[Caller]]:
    """Callers that are connected before any clock starts."""
    callers = [make() for _ in range(number)]
    try:
        await asyncio.gather(*(caller.connection.open() for caller in callers))
        yield callers
    finally:
        for caller in callers:
            caller.connection.close()
