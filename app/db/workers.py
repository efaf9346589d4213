"""Queries about workers and what they can run. A worker is one incarnation of a process; it is never
reused."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app.db.objects import to_object, values_of
from app.db.tables import WorkerRow
from app.domain.workers import ClassCount, NewWorker, Worker


def register(session: Session, worker: NewWorker) -> None:
    """Adds a fresh incarnation."""
    session.add(WorkerRow(**values_of(worker)))


BEAT = text("""
    UPDATE workers SET seen_at = now(), running = :running, models = :models
    WHERE id = :id AND stopped_at IS NULL RETURNING queues""")


def beat(
    session: Session, worker: UUID, *, running: int, models: Sequence[Mapping[str, Any]]
) -> list[str] | None:
    """Says that the worker lives; the queues that it may read, or None when its row is gone or closed (it has
    been declared dead)."""
    params = {"id": worker, "running": running, "models": orjson.dumps(list(models)).decode()}
    row = session.execute(BEAT, params).first()
    return None if row is None else list(row.queues)


def set_device_facts(session: Session, worker: UUID, facts: Mapping[str, Any]) -> None:
    """What has changed since the worker registered: its certificate."""
    session.execute(update(WorkerRow).where(WorkerRow.id == worker).values(device_facts=dict(facts)))


def drain(session: Session, worker: UUID) -> None:
    """The worker reads no queue any more and ends what it has begun: nothing more is routed to it."""
    session.execute(update(WorkerRow).where(WorkerRow.id == worker).values(queues=[]))


def set_queues(session: Session, worker: UUID, queues: Sequence[str]) -> Worker:
    """The worker reads these queues from its next heartbeat on; without any it is drained."""
    statement = update(WorkerRow).where(WorkerRow.id == worker).values(queues=list(queues))
    changed = statement.returning(WorkerRow).execution_options(populate_existing=True)
    return to_object(Worker, session.scalars(changed).one())


def stop(session: Session, worker: UUID) -> None:
    """The worker says goodbye; it counts as dead from now on."""
    session.execute(
        update(WorkerRow).where(WorkerRow.id == worker).values(stopped_at=text("now()"), running=0, models=[])
    )


def live(session: Session, dead_after: float) -> list[Worker]:
    """Workers that have sent a heartbeat within `dead_after` seconds (the database's clock)."""
    fresh = text("seen_at > now() - :dead_after * interval '1 s'").bindparams(dead_after=dead_after)
    query = select(WorkerRow).where(WorkerRow.stopped_at.is_(None), fresh).order_by(WorkerRow.device)
    return [to_object(Worker, row) for row in session.scalars(query)]


COUNT_BY_CLASS = text("""
    SELECT device_class, count(*) AS workers, sum(slots) AS slots FROM workers
    WHERE stopped_at IS NULL AND seen_at > now() - :dead_after * interval '1 s' GROUP BY device_class""")


def count_by_class(session: Session, dead_after: float) -> list[ClassCount]:
    """How many live workers, with how many slots, each class of device has."""
    rows = session.execute(COUNT_BY_CLASS, {"dead_after": dead_after})
    return [ClassCount(row.device_class, row.workers, row.slots) for row in rows]


CLASSES = text("SELECT DISTINCT device_class FROM workers WHERE seen_at > now() - :seconds * interval '1 s'")


def classes_seen(session: Session, seconds: float) -> set[str]:
    """Device classes that had a worker within so many seconds, whatever became of it."""
    return set(session.execute(CLASSES, {"seconds": seconds}).scalars())


CLOSE_SILENT = text("""
    UPDATE workers SET stopped_at = now()
    WHERE stopped_at IS NULL AND seen_at <= now() - :dead_after * interval '1 s' RETURNING id""")


def close_silent(session: Session, dead_after: float) -> list[UUID]:
    """Closes the rows of silent workers, so that one that wakes again learns it (`beat` answers False)."""
    return list(session.execute(CLOSE_SILENT, {"dead_after": dead_after}).scalars())


FORGET = text("DELETE FROM workers WHERE stopped_at < now() - :days * interval '1 day'")


def forget(session: Session, days: float) -> None:
    """Removes rows of workers that ended long ago."""
    session.execute(FORGET, {"days": days})
