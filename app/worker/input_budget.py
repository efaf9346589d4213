"""How many bytes of long inputs a worker holds, each from when it is read to the end of its run: as text, as
values, and on their way to the model, which reads them one after the other. Users share: whoever holds
nothing may have all that is free, nobody else more than is free beside. Knows nothing of what is read.
"""

import threading
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field

from app.domain.fair_shares import User
from app.worker.run import Fence

MOST_BYTES = (
    128_000_000  # a batch of 32 inputs of 2 MB for each of two users; in memory it is some times that
)


@dataclass(frozen=True, slots=True)
class _Waiting:
    fence: Fence
    user: User
    size: int
    turn: "Future[None]" = field(default_factory=Future)


class InputBudget:
    """Thread-safe."""

    def __init__(self, limit: int = MOST_BYTES) -> None:
        self._limit = limit
        self._held: dict[Fence, tuple[User, int]] = {}
        self._by_user: Counter[User] = Counter()
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()

    def hold(self, fence: Fence, user: User, size: int) -> "Future[None]":
        """Done when so many bytes more may be held, until `release`. Cancel it to wait no longer."""
        waiting = _Waiting(fence, user, min(size, self._limit))
        with self._lock:
            self._waiting.append(waiting)
        self._admit()
        return waiting.turn

    def release(self, fence: Fence) -> None:
        """The run has ended, whether it held anything or not."""
        with self._lock:
            user, size = self._held.pop(fence, (None, 0))
            self._by_user -= Counter({user: size})  # what is 0 is forgotten
        if size:
            self._admit()

    def _admit(self) -> None:
        with self._lock:
            admitted = [waiting for waiting in list(self._waiting) if self._admit_one(waiting)]
        for waiting in admitted:
            waiting.turn.set_result(None)

    def _admit_one(self, waiting: _Waiting) -> bool:
        if not self._fits(waiting.user, waiting.size):
            return False
        self._waiting.remove(waiting)
        if not waiting.turn.set_running_or_notify_cancel():
            return False
        self._held[waiting.fence] = waiting.user, waiting.size
        self._by_user[waiting.user] += waiting.size
        return True

    def _fits(self, user: User, size: int) -> bool:
        free, held = self._limit - self._by_user.total(), self._by_user[user]
        return size <= free and (not held or held + size <= free - size)
