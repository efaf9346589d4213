"""Predictions whose messages came when the worker had no capacity for more of their version, so that others
got past them.

Plain data. What is beyond the limit is forgotten: it waits in Postgres, where a look finds it when no message
comes.
"""

from collections import deque
from collections.abc import Mapping

MOST = 20_000  # ids of some 100 bytes


class DeferredIds:
    """In order of arrival, by version. `count`: how many there are."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self.count = 0
        self._ids: dict[str, deque[str]] = {}

    def add(self, versions: Mapping[str, str]) -> None:
        """Ids with their versions; those that were deferred before are older."""
        for prediction_id in sorted(versions):
            if self.count >= self._most:
                return
            self._ids.setdefault(versions[prediction_id], deque()).append(prediction_id)
            self.count += 1

    def has_capacity(self, capacity: Mapping[str, int]) -> bool:
        """Whether there is capacity for any of them."""
        return any(capacity.get(version, 1) > 0 for version in self._ids)

    def pop(self, capacity: Mapping[str, int], most: int) -> list[str]:
        """Removes and returns at most `most` that there is capacity for; a version that `capacity` does not
        name is not known any more and has no limit."""
        popped: list[str] = []
        for version in list(self._ids):
            waiting = self._ids[version]
            for _ in range(min(capacity.get(version, most), len(waiting), most - len(popped))):
                popped.append(waiting.popleft())
            if not waiting:
                del self._ids[version]
        self.count -= len(popped)
        return popped
