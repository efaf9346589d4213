"""What the platform holds just now, as numbers for a dashboard. Read every few seconds, so each query reads
indexes of what is unfinished only, and no further than a limit."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.plans import along_indexes

# Of one queue. Rows that were never looked at before cost a page each: 50,000 took 2.5 s on a busy machine,
# 10,000 half a second.
COUNTED_WAITING = 10_000
COUNTED_WEBHOOKS = 10_000

# Jumps from queue to queue in the index `predictions_waiting`: a million waiting rows of one queue are one
# step.
WAITING = text("""
    WITH RECURSIVE names AS (
        (SELECT queue FROM predictions WHERE status = 'starting' ORDER BY queue, id LIMIT 1)
        UNION ALL
        SELECT (SELECT p.queue FROM predictions AS p WHERE p.status = 'starting' AND p.queue > names.queue
                ORDER BY p.queue, p.id LIMIT 1)
        FROM names WHERE names.queue IS NOT NULL
    )
    SELECT queue,
           (SELECT count(*) FROM (SELECT FROM predictions AS p WHERE p.status = 'starting'
               AND p.queue = names.queue
                                  ORDER BY p.queue, p.id LIMIT :most) AS counted) AS waiting,
           (SELECT extract(epoch FROM now() - p.created_at)::float FROM predictions AS p
            WHERE p.status = 'starting' AND p.queue = names.queue ORDER BY p.queue, p.id LIMIT 1) AS oldest
    FROM names WHERE queue IS NOT NULL""")
WORKERS = text("""
    SELECT device_class, count(*) AS workers, sum(slots) AS slots FROM workers
    WHERE stopped_at IS NULL AND seen_at > now() - :dead_after * interval '1 s' GROUP BY device_class""")
WEBHOOKS = text(
    """
    SELECT count(*) FILTER (WHERE tries = 0) AS new, count(*) FILTER (WHERE tries > 0) AS again,
           greatest(0, extract(epoch FROM now() - min(next_at)))::float AS overdue
    FROM (SELECT tries, next_at FROM deliveries
        WHERE next_at IS NOT NULL ORDER BY next_at LIMIT :most) AS counted"""
)


def waiting(session: Session) -> list[Any]:
    """(queue, waiting, oldest in seconds) of each queue in which anything waits."""
    along_indexes(session)
    return list(session.execute(WAITING, {"most": COUNTED_WAITING}))


def workers(session: Session, dead_after: float) -> list[Any]:
    """(device_class, workers, slots) of the live workers."""
    return list(session.execute(WORKERS, {"dead_after": dead_after}))


def webhooks(session: Session) -> Any:
    """(new, again, overdue in seconds) of what is to be delivered."""
    return session.execute(WEBHOOKS, {"most": COUNTED_WEBHOOKS}).one()
