"""In which order what waits in a queue is expected to be claimed, as its callers see it: in bands, and within
each in turn between users. Plain data and arithmetic.

The workers decide (domain/fair_shares.py, for each by itself): whoever has work running there waits a little
longer than this says, and versions of which a worker takes many at once wait less.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from app.domain.fair_shares import WEIGHT, User
from app.domain.predictions import Waiting
from app.domain.priorities import age_band

_Line = tuple[str, User]  # what waits of one user, of one version


class SortKey(NamedTuple):
    """Sorts by what comes first. `start` counts what the user has ahead of it, by the user's weight."""

    band: int
    start: float
    id: str


class ClaimOrder:
    """Of what one look has seen, which was at most some `most` rows in all, shared equally by the groups of a
    user, a band and a version. `weights` has the users with another than WEIGHT."""

    def __init__(self, waiting: Sequence[Waiting], weights: Mapping[User, float], most: int) -> None:
        self._weights = weights
        lines: dict[_Line, list[tuple[int, str, int]]] = {}
        for each in waiting:
            band = age_band(each.priority, each.seconds)
            lines.setdefault(_line(each), []).append((band, each.id, each.priority))
        self._lines = {line: sorted(ranks) for line, ranks in lines.items()}
        groups: dict[tuple[_Line, int], list[SortKey]] = {}
        for line, ranks in self._lines.items():
            weight = weights.get(line[1], WEIGHT)
            for ahead, (band, id_, priority) in enumerate(ranks):
                groups.setdefault((line, priority), []).append(SortKey(band, ahead / weight, id_))
        self._keys = sorted(key for group in groups.values() for key in group)
        share = max(1, most // max(1, len(groups)))
        self.group_count = len(groups)
        # Of a group with as many rows as its share there may be more: behind the last nothing is known.
        self._horizon = min((group[-1] for group in groups.values() if len(group) >= share), default=None)

    def key_of(self, waiting: Waiting) -> SortKey:
        """Where it is sorted in, whether or not the look has seen it."""
        band = age_band(waiting.priority, waiting.seconds)
        ahead = bisect_left(self._lines.get(_line(waiting), ()), (band, waiting.id, 0))
        return SortKey(band, ahead / self._weights.get(waiting.user_id, WEIGHT), waiting.id)

    def knows_user_of(self, waiting: Waiting) -> bool:
        """Whether the look has seen any of this user and version."""
        return _line(waiting) in self._lines

    def count_ahead(self, waiting: Waiting) -> tuple[int, bool]:
        """How many are expected to be claimed before it; and whether these are all, not only the ones that
        are known."""
        key = self.key_of(waiting)
        if self._horizon is not None and key > self._horizon:
            return bisect_right(self._keys, self._horizon), False
        return bisect_left(self._keys, key), True

    def count_left(self, later: "ClaimOrder") -> int:
        """How many of them had left by a later look: of each user those that are not there any more, up to
        the last that is. (Of a user who has become one of many, a look sees less.)"""
        left = 0
        for line, ranks in self._lines.items():
            now = later._lines.get(line, ())
            there = {id_ for _, id_, _ in now}
            last = max(there, default="")
            left += sum(id_ not in there and (not there or id_ < last) for _, id_, _ in ranks)
        return left


def _line(waiting: Waiting) -> _Line:
    return waiting.version_id, waiting.user_id
