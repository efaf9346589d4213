"""What one reader waits for on the event loop: a prediction's chunks, or its end. Knows no Redis."""

import asyncio
from collections import deque

from app.events.channels import ChunkFrame

QUEUE_LIMIT = 1_000  # frames held for one slow reader; past it the reader re-reads what was kept


class Sleeper:
    """Sleeps until it is woken or time is up: one timer of the loop's own. asyncio.timeout around a queue or
    an event costs as much as sending what is waited for."""

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None

    async def sleep(self, seconds: float) -> None:
        """Used by one task."""
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(seconds, self.wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            timer.cancel()

    def wake(self) -> None:
        """Nothing, when nobody sleeps."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class ChunkSubscription:
    """One reader's frames, bounded: when it is full it is emptied, and the reader is to look again."""

    def __init__(self) -> None:
        self._frames: deque[ChunkFrame] = deque()
        self._look_again = False
        self._sleeper = Sleeper()

    def put(self, frame: ChunkFrame | None) -> None:
        """None means: look again (the end, a gap)."""
        if frame is None or len(self._frames) >= QUEUE_LIMIT:
            self._look_again = True
        if len(self._frames) >= QUEUE_LIMIT:
            self._frames.clear()
        elif frame is not None:
            self._frames.append(frame)
        self._sleeper.wake()

    async def read(self, seconds: float) -> tuple[list[ChunkFrame], bool]:
        """Everything that has come, waiting for `seconds` at most, and whether to look again; ([], False):
        silence."""
        if not self._frames and not self._look_again:
            await self._sleeper.sleep(seconds)
        frames, look_again = list(self._frames), self._look_again
        self._frames.clear()
        self._look_again = False
        return frames, look_again


class EndWaiter:
    """One who waits for a prediction's end. `ending`: how it ended (`channels.encode_ending`), where that was
    published."""

    def __init__(self) -> None:
        self.ending: str | None = None
        self._ended = False
        self._sleeper = Sleeper()

    def set(self, ending: str | None = None) -> None:
        """The end was published."""
        self.ending, self._ended = ending, True
        self._sleeper.wake()

    async def wait(self, seconds: float) -> bool:
        """Whether the end was published, before or within `seconds`."""
        if not self._ended:
            await self._sleeper.sleep(seconds)
        return self._ended
