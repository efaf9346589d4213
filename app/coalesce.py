"""Whoever is idle takes everything that waits (DESIGN, principle 3), once, for threads and for asyncio.

A hop (an INSERT, a publish, a read by id) that is free serves a lone call at once; while it is busy, calls
wait, and when it returns it takes all of them, up to a bound, as one group. There are no timers. A group is
bounded by count and, where the items say how large they are, by bytes: nobody's answer waits behind a
neighbour's megabytes, and no process holds them all at once. Knows nothing of what is done with a group.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
# Of the items of one group together; a larger item is a group of its own. Some copies of a group are held
# while it is sent, and a Postgres on a slow disk has written this well within a statement's time.
GROUP_BYTES = 4_000_000
# A group that was refused is halved for so long; then its rest is answered with the refusal. Each half may
# take as long as a statement is allowed, and the callers wait.
HALVE_SECONDS = 6.0

SizeOf = Callable[[T], int]  # bytes
Errors = tuple[type[Exception], ...]


class GroupSizeError(RuntimeError):
    """A group came back with another number of answers than it had items: a bug in the hop's function."""


def next_group(waiting: deque[T], limit: int, size_of: SizeOf[T] | None = None) -> list[T]:
    """Removes and returns the next group: everything that waits, oldest first, at most `limit` items and
    GROUP_BYTES; an item that is larger than that goes alone."""
    if size_of is None:
        return [waiting.popleft() for _ in range(min(limit, len(waiting)))]
    group: list[T] = []
    size = 0
    while waiting and len(group) < limit:
        size += size_of(waiting[0])
        if group and size > GROUP_BYTES:
            break
        group.append(waiting.popleft())
    return group


def split_groups(items: Iterable[T], limit: int, size_of: SizeOf[T]) -> Iterator[list[T]]:
    """The items in groups so bounded. No more than one group and the item after it is held."""
    group: list[T] = []
    size = 0
    for item in items:
        size += size_of(item)
        if group and (len(group) == limit or size > GROUP_BYTES):
            yield group
            group, size = [], size_of(item)
        group.append(item)
    if group:
        yield group


def check_size(answers: Sequence[R], size: int) -> Sequence[R]:
    """A group answers everyone or fails everyone."""
    if len(answers) != size:
        raise GroupSizeError(f"a group of {size} came back with {len(answers)} answers")
    return answers


class Coalescer(Generic[T, R]):
    """For asyncio: `await coalescer(item)`; `run` gets a group and returns one answer for each item, in
    order.

    `lanes` groups may run at the same time (for example one for each database connection of the hop). An
    exception of `run` reaches every waiter of that group, but for those of `halve_on`: they may be one item's
    fault, so each half is run again, at last each item alone. A cancelled waiter leaves its group running.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Awaitable[Sequence[R]]],
        *,
        limit: int = 256,
        lanes: int = 1,
        size_of: SizeOf[T] | None = None,
        halve_on: Errors = (),
    ) -> None:
        self._run, self._limit = run, limit
        self._halve_on = halve_on
        self._free = lanes
        self._size_of: SizeOf[tuple[T, asyncio.Future[R]]] | None = (
            None if size_of is None else lambda entry: size_of(entry[0])
        )
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._loops: set[asyncio.Task[None]] = set()

    async def __call__(self, item: T) -> R:
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._free:
            self._free -= 1
            task = asyncio.create_task(self._drain())
            self._loops.add(task)
            task.add_done_callback(self._loops.discard)
        return await future

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._serve(next_group(self._waiting, self._limit, self._size_of))
        finally:
            self._free += 1

    async def _serve(self, group: list[tuple[T, asyncio.Future[R]]]) -> None:
        parts, until = deque([group]), time.monotonic() + HALVE_SECONDS
        while parts:
            part = parts.popleft()
            try:
                is_refused = await self._serve_once(part, may_halve=time.monotonic() < until)
            except BaseException:  # whoever waits for the other parts is answered, then it is raised on
                for _, future in (entry for left in parts for entry in left):
                    future.cancel()
                raise
            if is_refused:
                half = len(part) // 2
                parts.extendleft((part[half:], part[:half]))

    async def _serve_once(self, group: list[tuple[T, asyncio.Future[R]]], *, may_halve: bool) -> bool:
        """Whether the group was refused and is to be halved; else everyone in it is answered."""
        try:
            answers = check_size(await self._run([item for item, _ in group]), len(group))
        except BaseException as error:  # everyone in the group is answered with it; an interrupt is raised on
            if may_halve and len(group) > 1 and isinstance(error, self._halve_on):
                return True
            for _, future in group:
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            if not isinstance(error, Exception):
                raise
            return False
        for (_, future), answer in zip(group, answers, strict=True):
            if not future.done():
                future.set_result(answer)
        return False

    async def close(self) -> None:
        """Waits until everything accepted so far is answered."""
        while self._loops:
            await asyncio.gather(*self._loops, return_exceptions=True)


class _Waiter(Generic[T, R]):
    """One item in a thread-side queue; `lead` says whether its thread is to run the next group."""

    __slots__ = ("future", "item", "lead")

    def __init__(self, item: T) -> None:
        self.item = item
        self.future: Future[R] = Future()
        self.lead: Future[bool] = Future()


class ThreadCoalescer(Generic[T, R]):
    """For threads: `coalescer(item)` blocks until answered. The caller that finds the hop free runs the group
    itself; one group runs at a time.

    So a lone call pays one lock and no thread switch. A leader runs one group, its own, and hands the lead to
    the oldest waiter: nobody is kept working for others after its own answer has come.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Sequence[R]],
        *,
        limit: int = 256,
        size_of: SizeOf[T] | None = None,
    ) -> None:
        self._run, self._limit = run, limit
        self._size_of: SizeOf[_Waiter[T, R]] | None = (
            None if size_of is None else lambda waiter: size_of(waiter.item)
        )
        self._busy = False
        self._waiting: deque[_Waiter[T, R]] = deque()
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)

    def __call__(self, item: T) -> R:
        waiter: _Waiter[T, R] = _Waiter(item)
        with self._lock:
            self._waiting.append(waiter)
            if not self._busy:
                self._busy = True
                self._waiting[0].lead.set_result(True)
        if waiter.lead.result():
            self._lead()
        return waiter.future.result()

    def _lead(self) -> None:
        with self._lock:
            group = next_group(self._waiting, self._limit, self._size_of)
        self._serve(group)
        with self._lock:
            if self._waiting:
                self._waiting[0].lead.set_result(True)
            else:
                self._busy = False
                self._idle.notify_all()

    def _serve(self, group: list[_Waiter[T, R]]) -> None:
        try:
            answers = check_size(self._run([waiter.item for waiter in group]), len(group))
        except BaseException as error:  # noqa: BLE001 - it reaches everyone of the group
            for waiter in group:
                waiter.future.set_exception(error)
        else:
            for waiter, answer in zip(group, answers, strict=True):
                waiter.future.set_result(answer)
        for waiter in group:
            if not waiter.lead.done():
                waiter.lead.set_result(False)

    def close(self, timeout: float | None = None) -> bool:
        """Waits until everything accepted so far is answered; False when that took longer than `timeout`
        seconds."""
        with self._lock:
            return self._idle.wait_for(lambda: not self._busy, timeout)
