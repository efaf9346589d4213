"""What waits for this worker and has to be claimed in turn between users: kept, looked for, claimed.

Used by the intake's one thread, when more waits than there is capacity for or messages may have been lost.
"""

import time
from collections.abc import Collection, Sequence

from app.domain.predictions import Prediction, Waiting
from app.services.predictions.lifecycle import Lifecycle
from app.worker.deferred import DeferredIds, Supply
from app.worker.identity import WorkerIdentity
from app.worker.runner import Runner

LOOKED_AT = 1_024  # rows that a look asks for, of everybody who waits together
FEW = 256  # deferred ones; with no more than that it is worth looking for those that were left out


class Backlog:
    """What is `deferred` waits for capacity. Of the queues that are `paused`, nothing is claimed."""

    def __init__(
        self, lifecycle: Lifecycle, identity: WorkerIdentity, runner: Runner, queues: Sequence[str]
    ) -> None:
        self._lifecycle, self._identity = lifecycle, identity
        self._runner, self._queues = runner, queues
        self.deferred = DeferredIds(runner.shares)
        self._looked_at = time.monotonic()
        self.paused: Collection[str] = ()

    def is_look_due(self, *, is_silent: bool, seconds: float) -> bool:
        """Whether Postgres is to be asked: nothing comes and nothing is known, little is left of what is
        known in part, or it was not asked for so many seconds."""
        if self.deferred.has_forgotten and self.deferred.count <= FEW:
            return True
        return (is_silent and not self.deferred.count) or time.monotonic() - self._looked_at > seconds

    def has_capacity(self) -> bool:
        """Whether any of it can be claimed now."""
        if not self.deferred.count:
            return False
        capacity = self._runner.capacity()
        if self.deferred.has_capacity(capacity):
            return True
        return self.deferred.has_newcomer(Supply(capacity, self._runner.in_flight.users_by_version()))

    def add(self, waiting: Sequence[Waiting]) -> int:
        """Returns how many were new."""
        return self.deferred.add(waiting, time.monotonic())

    def add_by_ids(self, ids: Sequence[str]) -> None:
        """Those of the messages that still wait. Raises Unavailable."""
        if ids:
            self.add(self._lifecycle.list_waiting(ids, self.paused))

    def pop(self, limit: int) -> list[str]:
        """At most so many ids whose turn it is and that there is capacity for."""
        in_flight = self._runner.in_flight
        supply = Supply(self._runner.capacity(), in_flight.users_by_version())
        return self.deferred.pop(supply, limit, time.monotonic()) if limit > 0 else []

    def claim(self, ids: Sequence[str]) -> list[Prediction]:
        """What of it nobody else has. Raises Unavailable."""
        return self._lifecycle.claim(ids, self._identity.id, {}, self.paused).predictions if ids else []

    def look(self) -> int:
        """Asks Postgres who waits. Returns how many were not known. Raises Unavailable."""
        self._looked_at = time.monotonic()
        queues = [queue for queue in self._queues if queue not in self.paused]
        waiting = self._lifecycle.list_next(queues, LOOKED_AT)
        added = self.add(waiting)
        self.deferred.has_forgotten = added > 0 and len(waiting) >= LOOKED_AT // 2
        return added
