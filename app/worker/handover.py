"""Gives idle siblings what this worker has claimed and not begun, and what waits for it alone.

A sibling is idle by its last heartbeat, so what went to it counts for a while: nothing more goes to it before
it had time for another one. What is pinned or requires something stays here.
"""

import time
from uuid import UUID

import structlog

from app.db import sweeps, workers
from app.db.session import Database
from app.domain import queue_names
from app.domain.handover import count_to_hand_back
from app.domain.predictions import DIRECT, Prediction
from app.engine.model_states import Ready
from app.worker.identity import WorkerIdentity
from app.worker.run import InFlight, Run, Stop
from app.worker.work_engine import WorkEngine

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 10.0  # two heartbeats
HOLD_SECONDS = 1.5  # in which a silent sibling has asked Postgres who waits; both idled when it was longer
QUEUED = 500  # rows of its own queue that are moved at once
UNMEASURED_SECONDS = 1.0


class Handover:
    """Called by the heartbeat's thread. Nothing more of what was handed over is claimed here for a while: it
    would come back."""

    def __init__(
        self,
        database: Database,
        engine: WorkEngine,
        identity: WorkerIdentity,
        in_flight: InFlight,
        queue: str,
        dead_after: float,
    ) -> None:
        self._database, self._engine = database, engine
        self._identity, self._in_flight = identity, in_flight
        self._queue, self._dead_after = queue, dead_after
        self._served: dict[UUID, float] = {}

    def look(self) -> None:
        """Raises Unavailable."""
        waiting = [run for run in self._in_flight.list_all() if is_movable(run)]
        seconds = [self._engine.pace(run.prediction.version_id) or UNMEASURED_SECONDS for run in waiting]
        idle = self._idle_siblings() if count_to_hand_back(seconds, 1) else []
        count = count_to_hand_back(seconds, len(idle))
        if not count:
            return
        last = sorted(waiting, key=lambda run: run.charge.rank if run.charge else 0.0)[-count:]
        self._hold_back({run.prediction.version_id for run in last})
        for run in last:
            run.stop(Stop.HAND_OVER)
        self._served |= dict.fromkeys(idle, time.monotonic())
        log.info("handed_over", count=count, siblings=len(idle))

    def _hold_back(self, versions: set[str]) -> None:
        """A worker that has not loaded them yet would claim all of it again, long before it runs any."""
        states = self._engine.states()
        are_ready = all(states.get(version) == Ready.name for version in versions)
        self._in_flight.hold_back(versions, HOLD_SECONDS if are_ready else AGAIN_SECONDS)

    def _idle_siblings(self) -> list[UUID]:
        """Live workers of the same class that run nothing; what waits for this one alone is theirs, too."""
        device_class, now = queue_names.device_class(self._queue), time.monotonic()
        self._served = {worker: at for worker, at in self._served.items() if now - at < AGAIN_SECONDS}
        with self._database.unit() as session:
            idle = [
                worker.id
                for worker in workers.live(session, self._dead_after)
                if worker.device_class == device_class
                and worker.queues
                and not worker.running
                and worker.id not in (self._identity.id, *self._served)
            ]
            if idle:
                part = sweeps.queue_slice(session, self._queue, "", QUEUED)
                sweeps.move_queues(session, part, {None: device_class} if None in part.kinds else {})
        return idle


def is_movable(run: Run) -> bool:
    """Whether it has not begun, and may run elsewhere."""
    return not run.in_batch and run.stopped is None and may_run_elsewhere(run.prediction)


def may_run_elsewhere(prediction: Prediction) -> bool:
    """Whether any worker of the class may have it; who has called this one is answered by this one."""
    routing = prediction.routing or {}
    return prediction.source != DIRECT and routing.get("strategy") != "pinned" and not routing.get("requires")
