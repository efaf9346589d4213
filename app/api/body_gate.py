"""Large request bodies: how many bytes of them are held at once, by whom, and the thread that works on them.

A body of 10 MB may become ten times that while it is parsed, and every list of a million numbers is looked
through in Python. So large bodies are parsed and checked one after the other beside the event loop, and those
that are being read, parsed or written down share a budget. Nobody has more of it than is free beside: one
caller's flood waits for itself. Knows no route.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from app.domain.errors import Unavailable

Answer = TypeVar("Answer")

HOLD = "body_hold"  # in a request's scope: its share of the budget
LARGE = 100_000  # bytes; what is smaller costs a millisecond or two at the worst
BUDGET = 128_000_000  # bytes of large bodies at once
WAIT_SECONDS = 15.0  # for a share of the budget
BUSY = "Too many large requests are under way. Try again shortly, or send large inputs as files."


class Hold:
    """A share of the budget."""

    def __init__(self, gate: "BodyGate", owner: str, size: int) -> None:
        self._gate, self._owner = gate, owner
        self._size = size

    def release(self) -> None:
        """The body is not needed any more. A second call does nothing."""
        size, self._size = self._size, 0
        self._gate.free(self._owner, size)


@dataclass(slots=True, eq=False)
class _Waiting:
    owner: str
    size: int
    turn: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class BodyGate:
    """One for each API process, called on its event loop. It has one thread: two would take turns at the
    interpreter and keep the loop waiting for both."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="large-bodies")
        self._budget = budget
        self._held: Counter[str] = Counter()
        self._waiting: list[_Waiting] = []

    async def run(self, call: Callable[..., Answer], *args: object) -> Answer:
        """The call's answer, from beside the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)

    async def hold(self, owner: str, size: int) -> Hold:
        """Waits until `size` bytes fit. Raises Unavailable when that takes too long."""
        size = min(size, self._budget)
        if self._fits(owner, size):
            self._held[owner] += size
        else:
            await self._wait(_Waiting(owner, size))
        return Hold(self, owner, size)

    def _fits(self, owner: str, size: int) -> bool:
        """Whoever holds nothing may have all that is free."""
        free = self._budget - self._held.total()
        return size <= free and (not self._held[owner] or self._held[owner] + size <= free - size)

    async def _wait(self, waiting: _Waiting) -> None:
        """Until it is admitted, which counts it."""
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await waiting.turn
        except BaseException as error:  # what it has or waits for is withdrawn, then it is raised on
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            else:
                self.free(waiting.owner, waiting.size)
            if isinstance(error, TimeoutError):
                raise Unavailable(BUSY, retry_after=2) from None
            raise

    def free(self, owner: str, size: int) -> None:
        """For `Hold`: so many bytes are free again, and whom they are enough for goes on."""
        self._held -= Counter({owner: size})  # what is 0 is forgotten
        for waiting in list(self._waiting):
            if not waiting.turn.done() and self._fits(waiting.owner, waiting.size):
                self._held[waiting.owner] += waiting.size
                self._waiting.remove(waiting)
                waiting.turn.set_result(None)

    def close(self) -> None:
        """Waits for what is being worked on."""
        self._thread.shutdown(wait=True)
