"""How many slow things each caller has open in this process: WebSockets, look-ups at the hub. Plain state
of the event loop."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from app.domain.errors import TooMany


class ConnectionCounts:
    """One for each API process. `most` for each owner; 0: no limit. `refusal` has a place for it."""

    def __init__(self, most: int, refusal: str = "You may have {} WebSockets open at once.") -> None:
        self._most, self._refusal = most, refusal
        self._open: Counter[str] = Counter()

    @contextmanager
    def enter(self, owner: str) -> Iterator[None]:
        """One more is open meanwhile. Raises TooMany."""
        if self._most and self._open[owner] >= self._most:
            raise TooMany(self._refusal.format(self._most), retry_after=1)
        self._open[owner] += 1
        try:
            yield
        finally:
            self._open -= Counter({owner: 1})  # what is 0 is forgotten
