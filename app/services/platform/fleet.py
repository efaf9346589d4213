"""What the live workers can do, read from their heartbeats and kept for a moment; chooses queues by the
routing policy.

Callers who find the last reading too old wait for the next one, all for the same. What this process has sent
to a worker since the reading is added to it, so that a burst does not all go to who was idle a moment ago.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from app.db import queue_counts, workers
from app.db.session import Database
from app.domain import routing
from app.domain.errors import ModelUnhealthy, Unavailable
from app.domain.predictions import Prediction, Status
from app.domain.routing import Candidate, Choice, Situation, VersionTrouble, WorkerFacts
from app.domain.versions import Placement
from app.domain.workers import Worker

__all__ = ["Candidate", "Choice", "Fleet", "Serving", "worker_facts"]

KEEP_SECONDS = 2.0  # heartbeats come every 5 s: reading more often learns little
COUNTED = 1_000  # predictions counted in a pinned queue
TURNS_KEPT = 10_000
# At least: a version that is being tried again is known to be well with the next heartbeat.
RETRY_SECONDS = 2.0
LOADED, TROUBLED = ("loading", "ready"), ("unresponsive", "failed", "unhealthy")
COMING = ("downloading", "loading")


def worker_facts(worker: Worker) -> WorkerFacts:
    """A worker as the routing policy reads it."""
    models = {str(model["version"]): model for model in worker.models}
    return WorkerFacts(
        device=worker.device,
        host=worker.host,
        slots=worker.slots,
        running=worker.running,
        loaded={
            version: model.get("in_use", 0)
            for version, model in models.items()
            if model.get("state") in LOADED
        },
        pace={version: model["pace"] for version, model in models.items() if model.get("pace")},
        limits={version: model["limit"] for version, model in models.items() if model.get("limit")},
        troubles={
            version: _trouble(model) for version, model in models.items() if model.get("state") in TROUBLED
        },
        memory_bytes=int(worker.device_facts.get("total_bytes") or 0),
        draining=not worker.queues,
        address=str(worker.device_facts.get("grpc_address") or ""),
        tls=str(worker.device_facts.get("grpc_tls") or ""),
        certificate=str(worker.device_facts.get("grpc_certificate") or ""),
    )


def _trouble(model: dict[str, Any]) -> VersionTrouble:
    reason, retry_in = str(model.get("reason") or "it does not say why"), float(model.get("retry_in") or 0.0)
    return VersionTrouble(reason, retry_in, lasting=model["state"] == "unhealthy")


def _coming(worker: Worker, model: dict[str, Any]) -> dict[str, Any]:
    """Where a model is on its way, and how far it is, where that is known."""
    values = {"worker": worker.name, "state": model["state"]}
    if not (total := int(model.get("expected_bytes") or 0)):
        return values
    here = min(int(model.get("arrived_bytes") or 0), total)
    return {**values, "bytes": here, "total_bytes": total, "percent": 100 * here // total}


@dataclass(frozen=True, slots=True)
class Serving:
    """How the live workers stand to a version. `status`: loaded, unloaded, unhealthy (new predictions are
    refused), failed (its last load did, wherever it was tried) or unserved (no worker could run it).
    `workers` could run it; `loaded_on` and `troubled_on` count those that have it and those where it is not
    well. `retry_in` in seconds."""

    status: str
    workers: int
    loaded_on: int
    troubled_on: int
    reason: str = ""
    retry_in: float = 0.0


class Fleet:
    """One for each API process. `route` and `explain` are awaited on its event loop, `serving` and `live`
    block."""

    def __init__(
        self, database: Database, threads: Executor, dead_after: float, strategy: str = routing.DEFAULT
    ) -> None:
        self._database, self._threads = database, threads
        self._dead_after, self._strategy = dead_after, strategy
        self._workers: Sequence[WorkerFacts] = ()
        self._sent: Counter[str] = Counter()
        self._turns: Counter[str] = Counter()
        # Models that are on their way, by incarnation of a worker and version; its name is among the values.
        self._coming: dict[tuple[UUID, str], dict[str, Any]] = {}
        self._ready: set[tuple[UUID, str]] = set()
        self._read_at = float("-inf")
        self._reading: asyncio.Future[None] | None = None

    async def route(self, version: str, config: dict[str, Any]) -> Choice:
        """The queue for a prediction of this version, with the reasons. Raises ModelUnhealthy when every live
        worker that could run it says that it is."""
        now = await self._situation(version, Placement.from_config(config))
        if trouble := routing.lasting_trouble(now):
            raise unhealthy(trouble)
        choice = routing.choose(now, self._strategy)
        self._sent[choice.queue] += 1
        self._turns[version] += 1
        return choice

    async def explain(self, version: str, config: dict[str, Any], strategy: str = "") -> Choice:
        """What `route` would choose now, by the version's strategy or by another one."""
        placement = Placement.from_config(config)
        now = await self._situation(version, replace(placement, strategy=strategy) if strategy else placement)
        return routing.choose(now, self._strategy)

    async def _situation(self, version: str, placement: Placement) -> Situation:
        await self.refresh()
        workers = routing.select_kind(placement, self._workers)
        return Situation(version, placement, workers, self._sent, self._turns[version])

    async def refresh(self) -> None:
        """Reads the workers again, unless that was done within KEEP_SECONDS."""
        if time.monotonic() - self._read_at > KEEP_SECONDS:
            if self._reading is None:
                self._reading = asyncio.ensure_future(self._read())
            await asyncio.shield(self._reading)

    async def _read(self) -> None:
        try:
            self._workers = await asyncio.get_running_loop().run_in_executor(self._threads, self.live)
            self._read_at = time.monotonic()
            self._sent.clear()
            if len(self._turns) > TURNS_KEPT:
                self._turns.clear()
        finally:
            self._reading = None

    def live(self) -> list[WorkerFacts]:
        """The live workers, from the database."""
        with self._database.unit() as session:
            rows = workers.live(session, self._dead_after)
            live = [worker_facts(worker) for worker in rows]
            pinned = [worker.pinned for worker in live]
            counts = queue_counts.in_queues(session, pinned, COUNTED) if live else []
        self._coming = {
            (worker.id, str(model["version"])): _coming(worker, model)
            for worker in rows
            for model in worker.models
            if model.get("state") in COMING
        }
        self._ready = {
            (worker.id, str(model["version"]))
            for worker in rows
            for model in worker.models
            if model.get("state") == "ready"
        }
        return [replace(worker, waiting=count.waiting) for worker, count in zip(live, counts, strict=True)]

    async def waiting_for(self, prediction: Prediction) -> dict[str, Any] | None:
        """What keeps a prediction from running, as of the last reading: its queue; its model, which the
        worker that claimed it downloads or loads; or its batch, where the model is ready. None: it runs or
        has ended."""
        if prediction.shown_status is not Status.STARTING:
            return None
        if prediction.worker is None:
            return {"what": "queue", "name": prediction.queue}
        with suppress(Unavailable):  # it is a courtesy
            await self.refresh()
        claimed = prediction.worker, prediction.version_id
        what = "batch" if claimed in self._ready else "model"
        return {"what": what, "name": prediction.model, **self._coming.get(claimed, {})}

    async def able(self, config: dict[str, Any]) -> list[str]:
        """The live workers, by their pinned queues, that could run a version of this configuration."""
        await self.refresh()
        placement = Placement.from_config(config)
        return [
            worker.pinned
            for worker in self._workers
            if not worker.draining and routing.is_able(placement, worker)
        ]

    def serving(self, version: str, config: dict[str, Any]) -> Serving:
        """How the fleet stands to a version, by the last reading. Blocks when that is too old."""
        if time.monotonic() - self._read_at > KEEP_SECONDS:
            self._workers, self._read_at = self.live(), time.monotonic()
            self._sent.clear()
        return serving(Situation(version, Placement.from_config(config), self._workers))


def serving(now: Situation) -> Serving:
    """How the workers of a situation stand to its version. Pure."""
    able = [
        worker for worker in now.workers if not worker.draining and routing.is_able(now.placement, worker)
    ]
    loaded = [worker for worker in able if now.version in worker.loaded]
    troubles = [trouble for worker in able if (trouble := worker.troubles.get(now.version))]
    soonest = min(troubles, key=lambda trouble: trouble.retry_in, default=VersionTrouble(""))
    status = "loaded" if loaded else "unloaded" if able else "unserved"
    if troubles and len(troubles) == len(able):
        status = "unhealthy" if routing.lasting_trouble(now) else "failed"
    return Serving(status, len(able), len(loaded), len(troubles), soonest.reason, soonest.retry_in)


def unhealthy(trouble: VersionTrouble) -> ModelUnhealthy:
    """The refusal, with when to come back."""
    seconds = max(RETRY_SECONDS, trouble.retry_in)
    return ModelUnhealthy(
        f"The model is unhealthy: {trouble.reason}. It is tried again in {seconds:.0f} s.",
        retry_after=seconds,
    )
