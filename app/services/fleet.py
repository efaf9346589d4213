"""What the live workers can do, read from their heartbeats and kept for a moment; asks the routing policy."""

import asyncio
import time
from concurrent.futures import Executor

from app.db import workers
from app.db.session import Database
from app.db.tables import WorkerRow
from app.queue import routing
from app.queue.routing import Choice, WorkerFacts

KEEP_SECONDS = 2.0  # heartbeats come every 5 s: reading more often learns nothing


def facts(row: WorkerRow) -> WorkerFacts:
    """A worker's row as the routing policy wants it."""
    loaded = {model["version"]: model.get("in_use", 0) for model in row.models}
    return WorkerFacts(row.device, row.host, row.slots, row.running, loaded)


class Fleet:
    """One for each API process. A stale picture is used while a fresh one is fetched; routing is advice, not correctness."""

    def __init__(self, database: Database, threads: Executor, dead_after: float) -> None:
        self._database, self._threads, self._dead_after = database, threads, dead_after
        self._workers: list[WorkerFacts] = []
        self._read_at = float("-inf")
        self._reading: asyncio.Future[None] | None = None

    async def route(self, version: str, wish: str) -> Choice:
        """The queue for a prediction of this version, with the reasons."""
        if time.monotonic() - self._read_at > KEEP_SECONDS:
            await self._refresh()
        return routing.choose(version, wish, self._workers)

    async def _refresh(self) -> None:
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read())
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        try:
            self._workers = await asyncio.get_running_loop().run_in_executor(self._threads, self.live)
            self._read_at = time.monotonic()
        finally:
            self._reading = None

    def live(self) -> list[WorkerFacts]:
        """The live workers, from the database."""
        with self._database.unit() as session:
            return [facts(row) for row in workers.live(session, self._dead_after)]
