"""How many WebSockets each caller has open in this process. Plain state of the event loop."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from app.domain.errors import TooMany


class ConnectionCounts:
    """One for each API process. `most` for each owner; 0: no limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    @contextmanager
    def enter(self, owner: str) -> Iterator[None]:
        """One more is open meanwhile. Raises TooMany."""
        if self._most and self._open[owner] >= self._most:
            raise TooMany(f"You may have {self._most} WebSockets open at once.", retry_after=1)
        self._open[owner] += 1
        try:
            yield
        finally:
            self._open -= Counter({owner: 1})  # what is 0 is forgotten
