"""Keeps a gateway worker's backends as they are registered, probes them, and writes down how they do."""

import asyncio
import random
from concurrent.futures import Executor
from contextlib import suppress
from uuid import UUID

import structlog

from app.db import backends as table
from app.db.session import Database
from app.domain.backend_retry import UpstreamFailed
from app.domain.backends import Backend, BackendReport
from app.domain.errors import LovageError
from app.worker.gateway.backend_pool import BackendPool
from app.worker.gateway.live_backend import LiveBackend
from app.worker.identity import WorkerIdentity

log = structlog.get_logger(__name__)

READ_SECONDS = 2.0  # between looks at what is registered
REPORT_EVERY = 2  # of these looks
PROBE_SECONDS = 60.0
RETRY_PROBE_SECONDS = 5.0  # of one that did not answer
JITTER = 0.2  # share of the time between two probes
PROBE_TIMEOUT_SECONDS = 10.0
CLOSE_AFTER_SECONDS = 600.0  # one that is registered no more: what runs there may go on so long


class BackendWatch:
    """`run` on the gateway's event loop; SQL is done on `threads`."""

    def __init__(
        self, pool: BackendPool, database: Database, threads: Executor, identity: WorkerIdentity
    ) -> None:
        self._pool, self._database = pool, database
        self._threads, self._identity = threads, identity
        self._probing: dict[str, tuple[LiveBackend, asyncio.Task[None]]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until it is cancelled; then its probes end, too."""
        try:
            await self._look_again_and_again()
        finally:
            tasks = [task for _, task in self._probing.values()] + list(self._closing)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_again_and_again(self) -> None:
        looks = 0
        while True:
            try:
                await self.refresh()
                if looks % REPORT_EVERY == 0:
                    await self._report()
            except LovageError as error:
                log.warning("backends_not_read", reason=error.detail)
            except Exception:  # a gateway that knows no change any more would look healthy
                log.exception("backend_watch_broken")
            looks += 1
            await asyncio.sleep(READ_SECONDS)

    async def refresh(self) -> None:
        """What is registered now. Raises Unavailable."""
        rows = await asyncio.get_running_loop().run_in_executor(self._threads, self._read)
        for former in self._pool.replace_all(rows):
            self._close_later(former)
        known = {backend.row.name: backend for backend in self._pool.list_all()}
        for name, (backend, task) in list(self._probing.items()):
            if known.get(name) is not backend:
                task.cancel()
                del self._probing[name]
        for name, backend in known.items():
            if name not in self._probing:
                task = asyncio.create_task(self._probe(backend), name=f"probe-{name}")
                self._probing[name] = (backend, task)

    def _read(self) -> list[Backend]:
        with self._database.unit() as session:
            return table.list_all(session)

    def _close_later(self, former: LiveBackend) -> None:
        task = asyncio.create_task(close_when_idle(former))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _probe(self, backend: LiveBackend) -> None:
        """Again and again, at times of its own so that several gateways do not come together."""
        while True:
            failure = await probe_once(backend)
            if failure and backend.is_reachable:
                log.warning("backend_unreachable", backend=backend.row.name, reason=failure)
            elif not failure and not backend.is_reachable:
                log.info("backend_reachable", backend=backend.row.name)
            backend.on_probe(failure)
            for model, rest, left in await self._pool.board.read(str(backend.row.id)):
                backend.follow(model, rest, left)
            self._pool.wake_all()
            seconds = RETRY_PROBE_SECONDS if failure else PROBE_SECONDS
            await asyncio.sleep(seconds * random.uniform(1 - JITTER, 1 + JITTER))

    async def _report(self) -> None:
        by_id = {backend.row.name: backend.row.id for backend in self._pool.list_all()}
        reports = {by_id[name]: report for name, report in self._pool.reports().items()}
        await asyncio.get_running_loop().run_in_executor(self._threads, self._write, reports)

    def _write(self, reports: dict[UUID, BackendReport]) -> None:
        with self._database.unit() as session:
            table.put_reports(session, self._identity.id, reports)


async def close_when_idle(former: LiveBackend) -> None:
    """Ends its connections, and a server that was started for it, when its last call has ended. However it is
    cancelled, they are ended."""
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_AFTER_SECONDS):
                await former.idle.wait()
    finally:
        await former.server.close()


async def probe_once(backend: LiveBackend) -> str:
    """Why it cannot be used, "" when it answers. Loads no model."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            await backend.server.check()
    except UpstreamFailed as error:
        return error.sentence
    except TimeoutError:
        return f"did not answer within {PROBE_TIMEOUT_SECONDS:g} s"
    except Exception as error:  # a plug-in's kind may raise anything
        log.exception("probe_broken", backend=backend.row.name)
        return f"could not be probed ({type(error).__name__})"
    return ""
