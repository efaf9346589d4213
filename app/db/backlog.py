"""How many predictions wait, and which are first in a queue, looked at no further than a limit. Reads indexes
of waiting rows."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.predictions import BY_AGE, IN_QUEUE

OF_USER = text(
    """
    SELECT count(*) FROM (SELECT FROM predictions
                          WHERE status = 'starting' AND user_id IS NOT DISTINCT
                              FROM :user_id LIMIT :most) AS waiting"""
)
OF_USER_KNOWN = text(
    """
    SELECT count(*) FROM (SELECT FROM predictions WHERE status = 'starting'
        AND user_id = :user_id LIMIT :most) AS waiting"""
)
OF_ALL = text(
    "SELECT count(*) FROM (SELECT FROM predictions WHERE status = 'starting' LIMIT :most) AS waiting"
)


def of_user(session: Session, user_id: UUID | None, most: int) -> int:
    """Waiting predictions of one user (None: of anonymous callers), at most `most`."""
    statement = OF_USER_KNOWN if user_id else OF_USER
    return int(session.execute(statement, {"user_id": user_id, "most": most}).scalar_one())


def of_all(session: Session, most: int) -> int:
    """All waiting predictions, at most `most`."""
    return int(session.execute(OF_ALL, {"most": most}).scalar_one())


IN_QUEUES = text("""
    SELECT q.queue, (SELECT count(*) FROM (SELECT FROM predictions p WHERE p.status = 'starting'
        AND p.queue = q.queue
                                           LIMIT :most) AS waiting) AS waiting
    FROM unnest(CAST(:queues AS text[])) AS q(queue)""")


def in_queues(session: Session, queues: Sequence[str], most: int) -> dict[str, int]:
    """How many wait in each of these queues, at most `most` each."""
    rows = session.execute(IN_QUEUES, {"queues": list(queues), "most": most})
    return {row.queue: int(row.waiting) for row in rows}


FIRST_IDS = text(f"SELECT id FROM predictions WHERE {IN_QUEUE.format(':queue')} {BY_AGE} LIMIT :most")


def first_ids(session: Session, queue: str, most: int) -> list[str]:
    """The ids that have waited longest in a queue, in order."""
    return list(session.execute(FIRST_IDS, {"queue": queue, "most": most}).scalars())


OF_USERS = text("""
    SELECT u.id AS user_id, w.id, w.queue
    FROM unnest(CAST(:users AS uuid[])) AS u(id)
    CROSS JOIN LATERAL (SELECT id, queue FROM predictions WHERE status = 'starting' AND user_id = u.id
                        ORDER BY id LIMIT :most) AS w
    ORDER BY w.id""")


def of_users(session: Session, users: Sequence[UUID], most: int) -> dict[UUID, list[tuple[str, str]]]:
    """(id, queue) of each user's predictions that have waited longest, at most `most` each; users without any
    are left out."""
    found: dict[UUID, list[tuple[str, str]]] = {}
    for row in session.execute(OF_USERS, {"users": list(users), "most": most}):
        found.setdefault(row.user_id, []).append((row.id, row.queue))
    return found
