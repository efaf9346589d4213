"""The one place that counts what waits and what runs. Every query reads an index of what is unfinished only,
and stops at the limit that it is given.

The limit is there because a row that was never looked at before costs a page: counting 50,000 of them took
2.5 s on a busy machine, 10,000 half a second.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.planner import BY_AGE, IN_QUEUE, by_index, hidden
from app.db.sweeps import queues_waiting
from app.domain.predictions import Waiting
from app.domain.queue_counts import QueueCount, WebhookCounts

MOST_WEBHOOKS = 10_000  # looked at

_WAITING = (
    "SELECT count(*) FROM (SELECT FROM predictions WHERE status = 'starting' {} LIMIT :most) AS waiting"
)
# Ids begin with the time; their index must not be taken for those of what waits.
OLDER = f"AND {hidden('id')} < :before"
WAITING = text(_WAITING.format(""))
WAITING_BEFORE = text(_WAITING.format(OLDER))
WAITING_OF_USER = text(_WAITING.format(f"AND user_id = :user_id {OLDER}"))
WAITING_OF_ANONYMOUS = text(_WAITING.format(f"AND user_id IS NULL {OLDER}"))
RUNNING = text("SELECT count(*) FROM predictions WHERE status = 'processing'")
# That a model has begun is written of runs that last: of what was claimed just now it is not known.
BEGIN_SECONDS = 1.0
CLAIMED = text("""
    SELECT count(*) FROM predictions WHERE status = 'processing' AND progress IS NULL
        AND started_at < now() - :seconds * interval '1 s'""")

# The oldest has the first id, so its row is the only one that must be read.
IN_QUEUES = by_index(f"""
    SELECT q.name AS queue,
           (SELECT count(*) FROM (SELECT FROM predictions WHERE {IN_QUEUE.format("q.name")} {BY_AGE}
                                  LIMIT CAST(:most AS bigint)) AS counted) AS waiting,
           (SELECT extract(epoch FROM now() - created_at)::float FROM predictions
            WHERE {IN_QUEUE.format("q.name")} {BY_AGE} LIMIT 1) AS oldest_seconds
    FROM unnest(CAST(:queues AS text[])) WITH ORDINALITY AS q(name, place) ORDER BY q.place""")


def waiting(session: Session, most: int) -> int:
    """All waiting predictions, at most `most`."""
    return int(session.execute(WAITING, {"most": most}).scalar_one())


def waiting_before(session: Session, before: str, most: int) -> int:
    """Those with ids below `before`, at most `most`."""
    return int(session.execute(WAITING_BEFORE, {"before": before, "most": most}).scalar_one())


def waiting_of_user(session: Session, user_id: UUID | None, before: str, most: int) -> int:
    """The same of one user (None: of anonymous callers)."""
    params = {"before": before, "most": most}
    if user_id is None:
        return int(session.execute(WAITING_OF_ANONYMOUS, params).scalar_one())
    return int(session.execute(WAITING_OF_USER, {"user_id": user_id, **params}).scalar_one())


def in_queues(session: Session, queues: Sequence[str], most: int | None = None) -> list[QueueCount]:
    """What waits in each of these queues, in their order, counting at most `most` in each (None: all)."""
    return _count(session, queues, most)


def in_all_queues(session: Session, most: int | None = None) -> list[QueueCount]:
    """What waits in every queue in which anything waits, by their names."""
    counts = _count(session, sorted(queues_waiting(session)), most)
    return [count for count in counts if count.waiting]


def _count(session: Session, queues: Sequence[str], most: int | None) -> list[QueueCount]:
    rows = session.execute(IN_QUEUES, {"queues": list(queues), "most": most})
    return [QueueCount(row.queue, int(row.waiting), row.oldest_seconds) for row in rows]


def running(session: Session) -> int:
    """Predictions that a worker holds."""
    return int(session.scalar(RUNNING) or 0)


def claimed(session: Session) -> int:
    """Those of them that no model has begun, as far as that is known: theirs is being loaded, or they wait
    for a batch."""
    return int(session.scalar(CLAIMED, {"seconds": BEGIN_SECONDS}) or 0)


FIRST_IDS = by_index(f"SELECT id FROM predictions WHERE {IN_QUEUE.format(':queue')} {BY_AGE} LIMIT :most")


def first_ids(session: Session, queue: str, most: int) -> list[str]:
    """The ids that have waited longest in a queue, in order."""
    return list(session.execute(FIRST_IDS, {"queue": queue, "most": most}).scalars())


FIRST_OF_USERS = text("""
    SELECT w.* FROM unnest(CAST(:users AS uuid[])) AS u(id)
    CROSS JOIN LATERAL (SELECT id, queue, version_id, user_id, priority,
                               greatest(0, extract(epoch FROM now() - created_at))::float AS seconds
                        FROM predictions WHERE status = 'starting' AND user_id = u.id
                        ORDER BY id LIMIT :most) AS w
    ORDER BY w.id""")


def first_of_users(session: Session, users: Sequence[UUID], most: int) -> list[tuple[str, Waiting]]:
    """Each user's predictions that have waited longest with their queues, at most `most` each."""
    rows = session.execute(FIRST_OF_USERS, {"users": list(users), "most": most})
    return [
        (row.queue, Waiting(row.id, row.version_id, row.user_id, row.priority, row.seconds)) for row in rows
    ]


WEBHOOKS = text("""
    SELECT count(*) FILTER (WHERE tries = 0) AS new, count(*) FILTER (WHERE tries > 0) AS again,
           coalesce(greatest(0, extract(epoch FROM now() - min(next_at))), 0)::float AS overdue_seconds
    FROM (SELECT tries, next_at FROM deliveries
          WHERE next_at IS NOT NULL ORDER BY next_at LIMIT :most) AS counted""")


def webhooks(session: Session) -> WebhookCounts:
    """What is to be delivered, looked at no further than MOST_WEBHOOKS."""
    row = session.execute(WEBHOOKS, {"most": MOST_WEBHOOKS}).one()
    return WebhookCounts(row.new, row.again, row.overdue_seconds)
