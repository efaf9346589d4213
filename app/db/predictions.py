"""Queries about predictions. Every statement takes and gives groups, so that callers can coalesce (DESIGN,
principle 3).

Rows travel to Postgres as one JSON parameter (`json_to_recordset`): one statement and one plan for a group of
any size. Writes are called by services/predictions/lifecycle.py only; nothing here commits or knows what a
move means to the outside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import RowMapping, TextClause, text
from sqlalchemy.orm import Session

from app.db.autocommit import Autocommit
from app.domain.predictions import Prediction, Status, lowest_id

COLUMNS = (
    "id, user_id, version_id, model, status, queue, created_at, input, output, error, error_code, logs,"
    " progress, metrics, stream, source, attempt, crashes, worker, cancel_requested, deadline, timeout,"
    " webhook, webhook_events, routing, started_at, completed_at, data_removed_at"
)
RETURNING = "RETURNING " + ", ".join(f"p.{name}" for name in COLUMNS.split(", "))


def prediction(row: RowMapping | Mapping[str, Any]) -> Prediction:
    """A row of COLUMNS as the domain's Prediction."""
    values = dict(row)
    values["status"] = Status(values["status"])
    values["metrics"] = values["metrics"] or {}
    return Prediction(**values)


def run(session: Session | Autocommit, statement: TextClause, **params: Any) -> list[Prediction]:
    """The rows that a statement returns (COLUMNS, or RETURNING of one that writes)."""
    return [prediction(row) for row in session.execute(statement, params).mappings()]


def run_kept(session: Session | Autocommit, statement: TextClause, **params: Any) -> list[Prediction]:
    """As `run`, with a plan that the connection keeps, where it can (`Autocommit.execute_prepared`)."""
    if isinstance(session, Autocommit):
        return [prediction(row) for row in session.execute_prepared(statement, params)]
    return run(session, statement, **params)


@dataclass(frozen=True, slots=True)
class ById:
    """A statement about predictions by their ids, and the same about one of them, whose plan a connection can
    keep: planning is most of what Postgres does for a lone one, and nothing worth for each of a group."""

    many: TextClause
    one: TextClause

    def run(self, session: Session | Autocommit, ids: Sequence[str], **params: Any) -> list[Prediction]:
        """As `run`."""
        if len(ids) == 1:
            return run_kept(session, self.one, id=ids[0], **params)
        return run(session, self.many, ids=list(ids), **params)


def by_id(sql: str) -> ById:
    """`{ids}` in `sql` is the condition on `p.id`, `{status}` stands for `p.status`: hidden from the planner
    where one is meant, who would take an index of those that wait, or run, for as good as the key while they
    are few."""
    return ById(
        text(sql.format(ids="p.id = ANY(:ids)", status="p.status")),
        text(sql.format(ids="p.id = :id", status="p.status || ''")),
    )


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(list(rows)).decode()


INSERT = text(f"""
    INSERT INTO predictions AS p (id, user_id, version_id, model, queue, routing, source, input, stream,
        deadline, timeout,
                                  webhook, webhook_events, idempotency_key, request_hash, notified_at)
    SELECT r.id, r.user_id, r.version_id, r.model, r.queue, r.routing, r.source, r.input, r.stream,
           now() + r.cancel_after * interval '1 s', r.timeout, r.webhook, r.webhook_events, r.idempotency_key,
           decode(r.request_hash, 'hex'), now()
    FROM json_to_recordset(:rows) AS r(id text, user_id uuid, version_id text, model text, queue text,
        routing json,
         source text, input json, stream bool, cancel_after float, timeout float, webhook text,
             webhook_events text[],
         idempotency_key text, request_hash text)
    ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    {RETURNING}""")


def insert(session: Session | Autocommit, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
    """Inserts new predictions; those whose idempotency key exists already are left out of the answer.

    A row has the keys of INSERT's recordset; `cancel_after` and `timeout` in seconds, `request_hash` in hex.
    """
    return run_kept(session, INSERT, rows=_json(rows))


BY_KEY = text(
    f"""
    SELECT {COLUMNS}, encode(request_hash, 'hex') AS request_hash, idempotency_key FROM predictions
    WHERE (user_id, idempotency_key) IN (SELECT r.user_id, r.key
        FROM json_to_recordset(:keys) AS r(user_id uuid, key text))"""
)


def by_idempotency_key(
    session: Session, keys: Sequence[tuple[UUID, str]]
) -> dict[tuple[UUID, str], tuple[Prediction, str | None]]:
    """Predictions already made with these (user, key) pairs, with the hash (hex) of the request that made
    each."""
    rows = session.execute(
        BY_KEY, {"keys": _json([{"user_id": user, "key": key} for user, key in keys])}
    ).mappings()
    found = {}
    for row in rows:
        values = dict(row)
        request_hash, key = values.pop("request_hash"), values.pop("idempotency_key")
        found[(values["user_id"], key)] = (prediction(values), request_hash)
    return found


GET = by_id(f"SELECT {COLUMNS} FROM predictions AS p WHERE {{ids}}")


def get(session: Session | Autocommit, ids: Sequence[str]) -> dict[str, Prediction]:
    """The predictions among `ids` that exist, by id."""
    return {found.id: found for found in GET.run(session, ids)}


@dataclass(frozen=True, slots=True)
class Filter:
    """What a list is narrowed to; None: anything."""

    user_id: UUID | None = None
    status: Status | None = None
    model: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


# An id bears the time of the API process that made it, `created_at` is Postgres's: a list narrowed by time
# looks so much further.
CLOCKS_APART = timedelta(hours=1)


def page(
    session: Session, wanted: Filter, *, before: str | None, after: str | None, limit: int
) -> list[Prediction]:
    """At most `limit` predictions of one user, newest first, with ids below `before` or above `after` (one of
    them at most)."""
    clauses = ["user_id = :user_id"]
    clauses += [
        clause
        for value, clause in (
            (wanted.status, "status = :status"),
            (wanted.model, "model = :model"),
            (wanted.created_after, "created_at >= :created_after AND id >= :least"),
            (wanted.created_before, "created_at < :created_before AND id <= :most"),
            (before, "id < :before"),
            (after, "id > :after"),
        )
        if value is not None
    ]
    order = "ASC" if after is not None else "DESC"
    sql = f"SELECT {COLUMNS} FROM predictions WHERE {' AND '.join(clauses)} ORDER BY id {order} LIMIT :limit"
    params = {name: getattr(wanted, name) for name in Filter.__slots__}
    params |= {
        "least": _near(wanted.created_after, -CLOCKS_APART),
        "most": _near(wanted.created_before, CLOCKS_APART),
    }
    found = run(session, text(sql), **params, before=before, after=after, limit=limit)
    return found[::-1] if after is not None else found


def _near(moment: datetime | None, more: timedelta) -> str | None:
    """The id that sorts first of those made at a moment and some more; ids begin with their API process's
    time."""
    return lowest_id(max(0, int((moment.timestamp() + more.total_seconds()) * 1000))) if moment else None


# The oldest of a queue are to come from the index of those that wait. `queue = …` would let the planner take
# the primary key for the order, and walk through millions that have ended; between equal bounds it cannot.
IN_QUEUE = "status = 'starting' AND queue BETWEEN {0} AND {0}"
BY_AGE = "ORDER BY queue, id"

PROGRESS = text(
    """
    UPDATE predictions AS p SET output = coalesce(r.output, p.output), logs = coalesce(r.logs, p.logs),
           progress = coalesce(r.progress, p.progress)
    FROM json_to_recordset(:rows) AS r(id text, attempt int, worker uuid, output json, logs text,
        progress json)
    WHERE p.id = r.id AND p.attempt = r.attempt AND p.worker = r.worker AND p.status = 'processing'
    RETURNING """
    + ", ".join(f"p.{name}" for name in COLUMNS.split(", "))
)


def progress(session: Session, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
    """Writes growing outputs, logs and steps of running predictions; None leaves a field as it was."""
    return run(session, PROGRESS, rows=_json(rows))


# What it was given and gave is long, and only a webhook repeats it.
LONG = {"input": "NULL", "output": "NULL", "logs": "''"}
RETURNING_ENDED = "RETURNING " + ", ".join(
    (
        f"CASE WHEN p.webhook IS NULL THEN {LONG[name]} ELSE p.{name} END AS {name}"
        if name in LONG
        else f"p.{name}"
    )
    for name in COLUMNS.split(", ")
)
FINISH = by_id(f"""
    UPDATE predictions AS p SET status = CASE WHEN p.cancel_requested THEN 'canceled' ELSE r.status END,
           output = r.output, error = CASE WHEN p.cancel_requested THEN p.error ELSE r.error END,
           error_code = CASE WHEN p.cancel_requested THEN NULL ELSE r.error_code END,
           logs = r.logs, metrics = r.metrics, progress = coalesce(r.progress, p.progress),
               completed_at = now()
    FROM json_to_recordset(:rows) AS r(id text, attempt int, worker uuid, status text, output json,
        error text,
         error_code text, logs text, metrics json, progress json)
    WHERE {{ids}} AND p.id = r.id AND p.attempt = r.attempt AND p.worker = r.worker
        AND {{status}} = 'processing'
    {RETURNING_ENDED}""")


def finish(session: Session | Autocommit, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
    """The only way from `processing` to an end. A row whose fence (worker, attempt) does not hold is left out
    of the answer; of those without a webhook the answer lacks LONG."""
    rows = sorted(rows, key=lambda row: str(row["id"]))
    return FINISH.run(session, [row["id"] for row in rows], rows=_json(rows))


CANCEL_WAITING = text(f"""
    UPDATE predictions AS p SET status = 'canceled', cancel_requested = true, completed_at = now(),
        error = :reason
    WHERE p.id = ANY(:ids) AND p.status = 'starting' {RETURNING}""")
CANCEL_RUNNING = text(f"""
    UPDATE predictions AS p SET cancel_requested = true, error = coalesce(p.error, :reason)
    WHERE p.id = ANY(:ids) AND p.status = 'processing' {RETURNING}""")


def cancel(
    session: Session, ids: Sequence[str], reason: str | None = None
) -> tuple[list[Prediction], list[Prediction]]:
    """Ends the waiting ones and marks the running ones. Returns (ended, marked)."""
    ids = sorted(ids)
    ended = run(session, CANCEL_WAITING, ids=ids, reason=reason)
    return ended, run(session, CANCEL_RUNNING, ids=ids, reason=reason)


HELD = text(
    "SELECT id, attempt, cancel_requested FROM predictions WHERE worker = :worker AND status = 'processing'"
)


def held(session: Session, worker: UUID) -> list[tuple[str, int, bool]]:
    """What this worker runs by the database's account: (id, attempt, whether somebody wants it stopped)."""
    return [(row.id, row.attempt, row.cancel_requested) for row in session.execute(HELD, {"worker": worker})]


OVERDUE = text("""
    SELECT id FROM predictions WHERE deadline <= now() AND status IN ('starting', 'processing')
        AND NOT cancel_requested
    ORDER BY deadline LIMIT :limit""")


def overdue(session: Session, limit: int) -> list[str]:
    """Ids whose Cancel-After has passed."""
    return list(session.execute(OVERDUE, {"limit": limit}).scalars())


REQUEUE = text(f"""
    UPDATE predictions AS p SET status = 'starting', worker = NULL, notified_at = NULL,
        crashes = p.crashes + r.crashes,
           run_after = now() + r.delay * interval '1 s', queue = coalesce(r.queue, p.queue), progress = NULL
    FROM json_to_recordset(:rows) AS r(id text, attempt int, worker uuid, crashes int, delay float,
        queue text)
    WHERE p.id = r.id AND p.attempt = r.attempt AND p.worker = r.worker AND p.status = 'processing'
    {RETURNING}""")


def requeue(session: Session, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
    """Recovery's move back to `starting`; `crashes` is what to add, `delay` in seconds, `queue` None to keep
    it."""
    return run(session, REQUEUE, rows=_json(sorted(rows, key=lambda row: str(row["id"]))))


HELD_BY_DEAD = text(f"""
    SELECT {COLUMNS} FROM predictions AS p
    WHERE p.status = 'processing' AND NOT EXISTS (
        SELECT FROM workers w WHERE w.id = p.worker AND w.stopped_at IS NULL
          AND w.seen_at > now() - :dead_after * interval '1 s')
    LIMIT :limit FOR UPDATE SKIP LOCKED""")


def held_by_dead(session: Session, dead_after: float, limit: int) -> list[Prediction]:
    """Running predictions whose worker has been silent for `dead_after` seconds, or has stopped; locked."""
    return run(session, HELD_BY_DEAD, dead_after=dead_after, limit=limit)


HELD_BY = text(
    f"SELECT {COLUMNS} FROM predictions WHERE status = 'processing' AND worker = :worker FOR UPDATE"
)


def held_by(session: Session, worker: UUID) -> list[Prediction]:
    """Everything this worker runs; locked."""
    return run(session, HELD_BY, worker=worker)


UNNOTIFIED = text("""
    UPDATE predictions SET notified_at = now()
    WHERE id IN (SELECT id FROM predictions WHERE status = 'starting' AND notified_at IS NULL
        AND run_after <= now()
                 ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING id, queue""")


def take_unnotified(session: Session, limit: int) -> list[tuple[str, str]]:
    """(id, queue) of waiting predictions that no message is known for; they are marked as rung."""
    return [(row.id, row.queue) for row in session.execute(UNNOTIFIED, {"limit": limit})]


WAITING = text("""
    SELECT id, queue FROM predictions WHERE status = 'starting' AND run_after <= now() AND (queue,
        id) > (:queue, :after)
    ORDER BY queue, id LIMIT :limit""")


def waiting(session: Session, queue: str, after: str, limit: int) -> list[tuple[str, str]]:
    """(id, queue) of waiting predictions in order of queue and id, behind the given ones."""
    found = session.execute(WAITING, {"queue": queue, "after": after, "limit": limit})
    return [(row.id, row.queue) for row in found]


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


QUEUE_SLICE = text(f"""
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
    """Sends each kind of a stretch to another queue; it will be rung again. Returns how many."""
    if not moves:
        return 0
    rows = _json([{"requires": kind, "new": new} for kind, new in moves.items()])
    params = {"rows": rows, "queue": part.queue, "after": part.after, "last": part.last}
    return session.execute(MOVE_QUEUES, params).rowcount  # type: ignore[no-any-return, attr-defined]


# One index probe for each queue, however many wait in it: `SELECT DISTINCT` would read a million entries.
QUEUES_WAITING = text("""
    WITH RECURSIVE found AS (
        SELECT min(queue) AS queue FROM predictions WHERE status = 'starting'
        UNION ALL
        SELECT (SELECT min(p.queue) FROM predictions p WHERE p.status = 'starting' AND p.queue > found.queue)
        FROM found WHERE found.queue IS NOT NULL)
    SELECT queue FROM found WHERE queue IS NOT NULL""")


def queues_waiting(session: Session) -> list[str]:
    """Queues that something waits in."""
    return list(session.execute(QUEUES_WAITING).scalars())


EXPIRED = text("""
    SELECT id FROM predictions WHERE data_removed_at IS NULL
        AND completed_at < now() - :hours * interval '1 h'
    ORDER BY completed_at LIMIT :limit""")


def expired(session: Session, hours: float, limit: int) -> list[str]:
    """Ids of ended predictions whose data is older than the retention time."""
    return list(session.execute(EXPIRED, {"hours": hours, "limit": limit}).scalars())


REMOVE_DATA = text(f"""
    UPDATE predictions AS p SET input = NULL, output = NULL, logs = '', routing = NULL, webhook = NULL,
        data_removed_at = now()
    WHERE p.id = ANY(:ids) AND p.completed_at IS NOT NULL AND p.data_removed_at IS NULL {RETURNING}""")


def remove_data(session: Session, ids: Sequence[str]) -> list[Prediction]:
    """Empties what a caller sent and got; the row with its times and metrics stays."""
    return run(session, REMOVE_DATA, ids=sorted(ids))


SWEEP_LOCK = text(
    "SELECT pg_try_advisory_xact_lock(:key) AS mine, set_config('idle_in_transaction_session_timeout',"
    " :longest, true)"
)
SWEEP_KEY, EXPIRY_KEY = 5_683_001, 5_683_002  # any numbers that nothing else locks
# a process that was stopped in mid-sweep kept everybody else from sweeping for as long as it slept
SWEEP_LONGEST = "20s"


def lock_sweep(session: Session, key: int = SWEEP_KEY) -> bool:
    """Whether this transaction alone may sweep now. Postgres ends it when it says nothing for
    SWEEP_LONGEST."""
    return bool(session.execute(SWEEP_LOCK, {"key": key, "longest": SWEEP_LONGEST}).one().mine)
