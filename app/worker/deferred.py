"""Predictions that wait in Postgres and that this worker knows of, because their messages came when it had no
capacity for more of their version: whose turn it is among them.

Plain data and arithmetic. Each user's wait in order of arrival, by version and band. Of two users whoever has
had less goes first (app/domain/fair_shares.py), of two bands the higher, and who waits long enough rises.
What is beyond the limit is forgotten, the newest of the longest queue first: it waits in Postgres, where a
look finds it.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from app.domain.fair_shares import FairShares, User
from app.domain.predictions import Waiting
from app.domain.priorities import age_band

MOST = 20_000  # ids of some 200 bytes


@dataclass(frozen=True, slots=True)
class Supply:
    """What a worker has to give. By version: `capacity`, how many more it takes (not named: no limit; below
    0: it is closed); `held`, the users of whom it holds some. One of whoever has none in work is taken beyond
    the capacity: it need not wait for what was claimed ahead of others."""

    capacity: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, set[User]] = field(default_factory=dict)


class _Key(NamedTuple):
    version: str
    user: User
    priority: int


class _Candidate(NamedTuple):
    """Sorts by what comes first; `number` keeps keys from being compared."""

    band: int
    start: float
    oldest: str
    number: int
    key: _Key


class _Left:
    """What is left of a supply while it is given out."""

    def __init__(self, supply: Supply) -> None:
        self._supply, self._capacity = supply, dict(supply.capacity)
        self._served: set[tuple[str, User]] = set()

    def claim_one(self, key: _Key) -> bool:
        """Whether there is one for this user; then there is one less."""
        version, user = key.version, key.user
        is_new = user not in self._supply.held.get(version, ()) and (version, user) not in self._served
        left = self._capacity.get(version, 1)
        if left < 0 or (left == 0 and not is_new):
            return False
        if left and version in self._capacity:
            self._capacity[version] -= 1
        self._served.add((version, user))
        return True


class DeferredIds:
    """`count`: how many there are. `has_forgotten`: some were, since that was last reset."""

    def __init__(self, shares: FairShares, most: int = MOST) -> None:
        self._shares, self._most = shares, most
        self.count = 0
        self.has_forgotten = False
        self._queues: dict[_Key, deque[tuple[str, float]]] = {}
        self._ids: set[str] = set()

    def add(self, waiting: Iterable[Waiting], now: float) -> int:
        """Those that are not there yet, the oldest first; `now` in monotonic seconds. Returns how many."""
        before = self.count
        for each in waiting:
            if each.id not in self._ids:
                key = _Key(each.version_id, each.user_id, each.priority)
                self._queues.setdefault(key, deque()).append((each.id, now - each.seconds))
                self._ids.add(each.id)
                self.count += 1
        added = self.count - before
        while self.count > self._most:
            self._forget_one()
        return added

    def _forget_one(self) -> None:
        longest = max(self._queues, key=lambda key: len(self._queues[key]))
        self._ids.discard(self._queues[longest].pop()[0])
        self.count -= 1
        self.has_forgotten = True

    def has_capacity(self, capacity: Mapping[str, int]) -> bool:
        """Whether there is capacity for any of them."""
        return any(capacity.get(key.version, 1) > 0 for key in self._queues)

    def has_newcomer(self, supply: Supply) -> bool:
        """Whether somebody waits of whom nothing is in work, for a version that is not closed."""
        return any(
            supply.capacity.get(key.version, 1) >= 0 and key.user not in supply.held.get(key.version, ())
            for key in self._queues
        )

    def pop(self, supply: Supply, most: int, now: float) -> list[str]:
        """Removes and returns at most `most` that there is capacity for, whoever has had least first."""
        left, popped = _Left(supply), list[str]()
        finish: dict[tuple[str, User], float] = {}
        candidates = [
            self._candidate(key, self._shares.ahead(key.version, key.user), now) for key in self._queues
        ]
        heapq.heapify(candidates)
        while candidates and len(popped) < most:
            candidate = heapq.heappop(candidates)
            user = (candidate.key.version, candidate.key.user)
            if candidate.start < finish.get(user, 0.0):  # some of this user's other band went ahead
                heapq.heappush(candidates, candidate._replace(start=finish[user]))
            elif left.claim_one(candidate.key):
                popped.append(self._popleft(candidate.key))
                finish[user] = candidate.start + self._shares.cost(*user)
                if candidate.key in self._queues:
                    heapq.heappush(candidates, self._candidate(candidate.key, finish[user], now))
        return popped

    def _candidate(self, key: _Key, start: float, now: float) -> _Candidate:
        oldest, since = self._queues[key][0]
        return _Candidate(age_band(key.priority, now - since), start, oldest, id(key), key)

    def _popleft(self, key: _Key) -> str:
        waiting = self._queues[key]
        prediction_id, _ = waiting.popleft()
        if not waiting:
            del self._queues[key]
        self._ids.discard(prediction_id)
        self.count -= 1
        return prediction_id
