"""Predictions that were heard of when the worker had no room for more of their version, so that others got
past them.

Plain data. What does not fit is forgotten: it waits in Postgres, where a look finds it when the bells are
silent.
"""

from collections import deque
from collections.abc import Mapping

MOST = 20_000  # ids of some 100 bytes


class DeferredIds:
    """In order of arrival, by version."""

    def __init__(self, most: int = MOST) -> None:
        self._most, self._count = most, 0
        self._ids: dict[str, deque[str]] = {}

    def __len__(self) -> int:
        return self._count

    def add(self, left: Mapping[str, str]) -> None:
        """Ids with their versions; those put off before are older."""
        for prediction_id in sorted(left):
            if self._count >= self._most:
                return
            self._ids.setdefault(left[prediction_id], deque()).append(prediction_id)
            self._count += 1

    def ready(self, capacity: Mapping[str, int]) -> bool:
        """Whether there is room for any."""
        return any(capacity.get(version, 1) > 0 for version in self._ids)

    def take(self, capacity: Mapping[str, int], most: int) -> list[str]:
        """At most `most` that there is room for. A version without a room is not known any more and gets its
        chance."""
        taken: list[str] = []
        for version in list(self._ids):
            waiting = self._ids[version]
            for _ in range(min(capacity.get(version, most), len(waiting), most - len(taken))):
                taken.append(waiting.popleft())
            if not waiting:
                del self._ids[version]
        self._count -= len(taken)
        return taken
