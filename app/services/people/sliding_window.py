"""How a sliding window of calls goes on: what is left at a moment, and when so many more will be let in.
Pure.

The arithmetic is that of the library `limits` (sliding window counter): two counts, of which the older one
weighs less and less until the newer one takes its place."""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """`amount` calls in `seconds`. The counts and when they end, in Unix seconds: the previous one within
    `seconds`, the current one within twice that; for the second half it is the previous one."""

    amount: int
    seconds: float
    previous: int = 0
    previous_ends: float = 0.0
    current: int = 0
    current_ends: float = 0.0

    def with_more(self, calls: int, now: float) -> "SlidingWindow":
        """After so many more calls."""
        if not self.current_ends or now >= self.current_ends:
            return SlidingWindow(
                self.amount, self.seconds, current=calls, current_ends=now + 2 * self.seconds
            )
        if now < self._shift:
            return replace(self, current=self.current + calls)
        ends = self.current_ends + self.seconds
        return replace(
            self,
            previous=self.current,
            previous_ends=self.current_ends,
            current=calls,
            current_ends=ends,
        )

    @property
    def _shift(self) -> float:
        return self.current_ends - self.seconds

    def left(self, now: float) -> int:
        """How many more calls are let in."""
        if now < self._shift:
            weighted = self._weigh(self.previous, self.previous_ends, now) + self.current
        else:
            weighted = self._weigh(self.current, self.current_ends, now)
        return max(0, self.amount - weighted)

    def _weigh(self, count: int, ends: float, now: float) -> int:
        return math.floor(count * max(0.0, ends - now) / self.seconds)

    def seconds_until(self, calls: int, now: float) -> float:
        """How long until so many are let in, if nobody calls meanwhile; more than ever are: until all is
        free."""
        calls = min(calls, self.amount)
        if self.left(now) >= calls:
            return 0.0
        free = self.amount - calls - self.current
        if free >= 0 and self.previous:
            moment = self.previous_ends - self.seconds * (free + 1) / self.previous
            if moment < self._shift:
                return max(0.0, moment - now)
        moment = self.current_ends - self.seconds * (self.amount - calls + 1) / max(1, self.current)
        return max(0.0, moment - now, self._shift - now)
