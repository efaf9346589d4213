"""How many bytes of large things one process holds at once, for asyncio. Knows nothing of what they are."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class ByteBudget:
    """At most `limit` bytes are held at once, and what is larger alone; who comes first goes first."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Waits until there is capacity for so many bytes; they count as held until the block ends."""
        if self._waiting or not self._has_capacity(size):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            try:
                await turn
            except BaseException:  # given up while it waited, or just as its turn came; it is raised on
                if turn.done() and not turn.cancelled():
                    self._release(size)
                raise
        else:
            self._held += size
        try:
            yield
        finally:
            self._release(size)

    def _has_capacity(self, size: int) -> bool:
        return not self._held or self._held + size <= self._limit

    def _release(self, size: int) -> None:
        self._held -= size
        while self._waiting and (self._waiting[0][1].done() or self._has_capacity(self._waiting[0][0])):
            following, turn = self._waiting.popleft()
            if not turn.done():  # else its waiter has left
                self._held += following
                turn.set_result(None)


class OwnByteBudgets:
    """A budget of `limit` bytes for each owner, for as long as anybody has it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._budgets: WeakValueDictionary[str, ByteBudget] = WeakValueDictionary()

    def budget_of(self, owner: str) -> ByteBudget:
        budget = self._budgets.get(owner)
        if budget is None:
            budget = self._budgets[owner] = ByteBudget(self._limit)
        return budget
