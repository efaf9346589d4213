"""Whether the parts that a prediction needs are there, and what the fleet is doing. Calls block: use
threads."""

import time
from dataclasses import dataclass, field

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from app.db import queue_counts, schema_state, workers
from app.db.session import Database
from app.domain.errors import LovageError
from app.domain.queue_counts import QueueCount
from app.domain.workers import Worker

SLOW_SECONDS, KEEP_TIMES = 0.1, 20.0  # a count that took longer is kept for so many times as long
NOT_MIGRATED = "has not this release's tables yet: run `lovage migrate`"
REDIS_SECONDS = 1.5  # a probe must answer before its caller gives up


@dataclass(frozen=True, slots=True)
class Readiness:
    """`checks` says `ok`, or what is wrong, of each part."""

    checks: dict[str, str] = field(default_factory=dict)
    workers: list[str] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether a prediction made now is accepted. Without a worker it waits, which is no reason to take
        the API away."""
        return all(result == "ok" for part, result in self.checks.items() if part != "workers")


@dataclass(frozen=True, slots=True)
class Census:
    """What the fleet holds: the live workers, each queue in which anything waits, how many workers have
    `claimed` that no model has begun, how many run."""

    workers: list[Worker]
    queues: list[QueueCount]
    claimed: int
    running: int

    @property
    def waiting(self) -> int:
        """In all queues."""
        return sum(queue.waiting for queue in self.queues)


class Health:
    """One for each API process."""

    def __init__(self, database: Database, redis_url: str, dead_after: float) -> None:
        self._database, self._dead_after = database, dead_after
        self._queues: list[QueueCount] = []
        self._counted_until = 0.0
        self._redis = Redis.from_url(
            redis_url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS, retry=None
        )

    def readiness(self) -> Readiness:
        """Tries every part once."""
        checks = {"database": "ok", "redis": self._ping_redis()}
        try:
            with self._database.unit() as session:
                if schema_state.needs_migration(session):
                    checks["database"] = NOT_MIGRATED
                    return Readiness({**checks, "workers": "not known: the database is not migrated"})
                live = workers.live(session, self._dead_after)
        except LovageError:
            checks["database"] = "cannot be reached"
            return Readiness({**checks, "workers": "not known: the database cannot be reached"})
        names = [f"{worker.device}@{worker.host}" for worker in live]
        return Readiness({**checks, "workers": "ok" if live else "no live worker"}, names)

    def _ping_redis(self) -> str:
        try:
            self._redis.ping()
        except (RedisError, OSError):
            return "cannot be reached"
        return "ok"

    def workers(self) -> list[Worker]:
        """The live workers."""
        with self._database.unit() as session:
            return workers.live(session, self._dead_after)

    def census(self) -> Census:
        """As it is now. With hundreds of thousands that wait, the queues' lengths may be some seconds old."""
        with self._database.unit() as session:
            live = workers.live(session, self._dead_after)
            held, claimed = queue_counts.running(session), queue_counts.claimed(session)
            queues = self._queues if time.monotonic() < self._counted_until else self._count(session)
        return Census(live, queues, claimed, max(0, held - claimed))

    def _count(self, session: Session) -> list[QueueCount]:
        began = time.monotonic()
        self._queues = queue_counts.in_all_queues(session)
        if (took := time.monotonic() - began) > SLOW_SECONDS:
            self._counted_until = began + KEEP_TIMES * took
        return self._queues

    def close(self) -> None:
        """Disconnects."""
        self._redis.close()
