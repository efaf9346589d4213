"""What the sweeps look for among the predictions, each a bounded look along one index, and the locks that let
one process sweep at a time. Nothing here commits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.planner import BY_AGE, IN_QUEUE, by_index
from app.db.predictions import SHORT, execute
from app.domain import queue_names
from app.domain.predictions import Prediction

SWEEP_LOCK = text(
    "SELECT pg_try_advisory_xact_lock(:key) AS mine, set_config('idle_in_transaction_session_timeout',"
    " :longest, true)"
)
SWEEP_KEY, EXPIRY_KEY = 5_683_001, 5_683_002
STATISTICS_KEY = 5_683_003  # any numbers that nothing else locks
# a process that was stopped in mid-sweep kept everybody else from sweeping for as long as it slept
SWEEP_LONGEST = "20s"


def lock_sweep(session: Session, key: int = SWEEP_KEY) -> bool:
    """Whether this transaction alone may sweep now. Postgres ends it when it says nothing for
    SWEEP_LONGEST."""
    return bool(session.execute(SWEEP_LOCK, {"key": key, "longest": SWEEP_LONGEST}).one().mine)


OVERDUE = by_index("""
    SELECT id FROM predictions WHERE deadline <= now() AND status IN ('starting', 'processing')
        AND NOT cancel_requested
    ORDER BY deadline LIMIT :limit""")


def overdue(session: Session, limit: int) -> list[str]:
    """Ids whose Cancel-After has passed."""
    return list(session.execute(OVERDUE, {"limit": limit}).scalars())


HELD_BY_DEAD = text(f"""
    SELECT {SHORT} FROM predictions AS p
    WHERE p.status = 'processing' AND NOT EXISTS (
        SELECT FROM workers w WHERE w.id = p.worker AND w.stopped_at IS NULL
          AND w.seen_at > now() - :dead_after * interval '1 s')
    LIMIT :limit FOR UPDATE SKIP LOCKED""")


def held_by_dead(session: Session, dead_after: float, limit: int) -> list[Prediction]:
    """Running predictions whose worker has been silent for `dead_after` seconds, or has stopped; locked."""
    return execute(session, HELD_BY_DEAD, dead_after=dead_after, limit=limit)


UNFINISHED = by_index("""
    (SELECT id FROM predictions WHERE user_id = :user AND status = 'starting' LIMIT :limit)
    UNION ALL
    (SELECT id FROM predictions WHERE user_id = :user AND status = 'processing' AND NOT cancel_requested
     LIMIT :limit)""")


def unfinished(session: Session, user_id: UUID, limit: int) -> list[str]:
    """Ids of a user's predictions that wait or run, and that nobody has canceled."""
    return list(session.execute(UNFINISHED, {"user": user_id, "limit": limit}).scalars())


WAITING_OF_USER = by_index("""
    SELECT id FROM predictions WHERE user_id = :user AND status = 'starting' AND id <= :up_to LIMIT :limit""")
# Along the index of what runs, which is as long as the fleet is large; that of the user's has all that has
# ended, too.
RUNNING_OF_USER = by_index("""
    SELECT id FROM predictions WHERE user_id IS NOT DISTINCT FROM :user AND status = 'processing'
        AND id <= :up_to AND NOT cancel_requested LIMIT :limit""")


def waiting_of_user(session: Session, user_id: UUID, up_to: str, limit: int) -> list[str]:
    """Ids up to `up_to` of a user's predictions that wait."""
    params = {"user": user_id, "up_to": up_to, "limit": limit}
    return list(session.execute(WAITING_OF_USER, params).scalars())


def running_of_user(session: Session, user_id: UUID, up_to: str, limit: int) -> list[str]:
    """Ids up to `up_to` of a user's predictions that run, and that nobody has canceled."""
    params = {"user": user_id, "up_to": up_to, "limit": limit}
    return list(session.execute(RUNNING_OF_USER, params).scalars())


BY_USER = text("""
    SELECT id, status IN ('succeeded', 'failed', 'canceled') AS ended, data_removed_at IS NULL AS has_data
    FROM predictions WHERE user_id = :user AND id > :after ORDER BY id LIMIT :limit""")


def by_user(session: Session, user_id: UUID, after: str, limit: int) -> list[tuple[str, bool, bool]]:
    """A user's predictions behind the given one, in order: (id, has it ended, has it data)."""
    rows = session.execute(BY_USER, {"user": user_id, "after": after, "limit": limit})
    return [(row.id, row.ended, row.has_data) for row in rows]


UNNOTIFIED = by_index("""
    UPDATE predictions SET notified_at = now()
    WHERE id IN (SELECT id FROM predictions WHERE status = 'starting' AND notified_at IS NULL
        AND run_after <= now()
                 ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING id, queue""")


def take_unnotified(session: Session, limit: int) -> list[tuple[str, str]]:
    """(id, queue) of waiting predictions that no message is known for; they are marked as notified."""
    return [(row.id, row.queue) for row in session.execute(UNNOTIFIED, {"limit": limit})]


WAITING = by_index("""
    SELECT id, queue FROM predictions WHERE status = 'starting' AND run_after <= now() AND (queue,
        id) > (:queue, :after)
    ORDER BY queue, id LIMIT :limit""")


def waiting(session: Session, queue: str, after: str, limit: int) -> list[tuple[str, str]]:
    """(id, queue) of waiting predictions in order of queue and id, behind the given ones."""
    rows = session.execute(WAITING, {"queue": queue, "after": after, "limit": limit})
    return [(row.id, row.queue) for row in rows]


# What waits somewhere because it must, by its routing: it stays there.
IS_PINNED = "coalesce(routing ->> 'strategy', '') = 'pinned'"


@dataclass(frozen=True, slots=True)
class QueueSlice:
    """What waits in a queue with ids above `after` up to `last`: `kinds` are the texts of what its routings
    require (None: nothing), for those that may be moved."""

    queue: str
    after: str
    last: str
    count: int
    kinds: list[str | None]


QUEUE_SLICE = by_index(f"""
    SELECT requires, held, max(id) AS last, count(*) AS number
    FROM (SELECT id, routing ->> 'requires' AS requires, {IS_PINNED} AS held FROM predictions
          WHERE {IN_QUEUE.format(":queue")} AND id > :after {BY_AGE} LIMIT :limit) AS looked_at
    GROUP BY requires, held""")


def queue_slice(session: Session, queue: str, after: str, limit: int) -> QueueSlice:
    """The next so many of a queue: never all of it, as a million may wait there."""
    rows = session.execute(QUEUE_SLICE, {"queue": queue, "after": after, "limit": limit}).all()
    last, count = max((row.last for row in rows), default=after), sum(row.number for row in rows)
    return QueueSlice(queue, after, last, count, [row.requires for row in rows if not row.held])


MOVE_QUEUES = text(f"""
    UPDATE predictions SET queue = r.new, notified_at = NULL
    FROM json_to_recordset(:rows) AS r(requires text, new text)
    WHERE queue = :queue AND status = 'starting' AND id > :after AND id <= :last AND NOT {IS_PINNED}
      AND routing ->> 'requires' IS NOT DISTINCT FROM r.requires""")


def move_queues(session: Session, part: QueueSlice, moves: Mapping[str | None, str]) -> int:
    """Sends each kind of a slice to another queue, where it is to be notified of again. Returns how many."""
    if not moves:
        return 0
    rows = orjson.dumps([{"requires": kind, "new": new} for kind, new in moves.items()]).decode()
    params = {"rows": rows, "queue": part.queue, "after": part.after, "last": part.last}
    return session.execute(MOVE_QUEUES, params).rowcount  # type: ignore[no-any-return, attr-defined]


MOVE = text(f"""
    UPDATE predictions SET queue = :to, notified_at = now()
    WHERE id = ANY(:ids) AND queue = :queue AND status = 'starting' AND NOT {IS_PINNED}
      AND (:is_class OR routing ->> 'requires' IS NULL)
    RETURNING id""")


def move(session: Session, queue: str, to: str, ids: Sequence[str]) -> list[str]:
    """Sends these to another queue, but for what must stay where it waits: what is pinned there, and, unless
    `to` is for the same class of devices, what requires something of its device. Returns their ids."""
    is_class = queue_names.device_class(queue) == queue_names.device_class(to)
    params = {"queue": queue, "to": to, "ids": sorted(ids), "is_class": is_class}
    return list(session.execute(MOVE, params).scalars())


# One index probe for each queue, however many wait in it: `SELECT DISTINCT` would read a million entries.
QUEUES_WAITING = by_index("""
    WITH RECURSIVE names AS (
        SELECT min(queue) AS queue FROM predictions WHERE status = 'starting'
        UNION ALL
        SELECT (SELECT min(p.queue) FROM predictions p WHERE p.status = 'starting' AND p.queue > names.queue)
        FROM names WHERE names.queue IS NOT NULL)
    SELECT queue FROM names WHERE queue IS NOT NULL""")


def queues_waiting(session: Session) -> list[str]:
    """Queues that something waits in."""
    return list(session.execute(QUEUES_WAITING).scalars())


EXPIRED = by_index("""
    SELECT id FROM predictions WHERE data_removed_at IS NULL
        AND completed_at < now() - :hours * interval '1 h'
    ORDER BY completed_at LIMIT :limit""")


def expired(session: Session, hours: float, limit: int) -> list[str]:
    """Ids of ended predictions whose data is older than the retention time."""
    return list(session.execute(EXPIRED, {"hours": hours, "limit": limit}).scalars())


# Along the index of what is removed and still names its input: the few of the last moments, and those whose
# siblings are still there.
INPUTS_TO_DELETE = text("""
    SELECT DISTINCT input_key FROM predictions AS removed
    WHERE input_key IS NOT NULL AND data_removed_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM predictions AS p WHERE p.input_key = removed.input_key AND p.data_removed_at IS NULL)
    LIMIT :limit""")


def inputs_to_delete(session: Session, limit: int) -> list[str]:
    """Stored inputs that only removed predictions name."""
    return list(session.execute(INPUTS_TO_DELETE, {"limit": limit}).scalars())
