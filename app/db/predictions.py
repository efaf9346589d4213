"""Queries about predictions. Every statement takes and gives groups, so that callers can coalesce (DESIGN,
principle 3).

Rows travel to Postgres as one JSON parameter (`json_to_recordset`): one statement and one plan for a group of
any size. Writes are called by services/predictions/lifecycle.py only; nothing here commits or knows what a
move means to the outside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import RowMapping, TextClause, text
from sqlalchemy.orm import Session

from app.db import ended_attempts
from app.db.autocommit import Autocommit
from app.db.planner import hidden
from app.domain.predictions import Prediction, Status

COLUMNS = (
    "id, user_id, version_id, model, status, queue, created_at, input, output, error, error_code, logs,"
    " progress, metrics, stream, source, attempt, generation, crashes, worker, cancel_requested, deadline,"
    " timeout, webhook, webhook_events, routing, started_at, completed_at, data_removed_at, input_bytes,"
    " output_bytes, input_key, output_key, priority"
)
# A value of more bytes is left out where several rows are read at once, and read with its row alone: so a
# statement reads some 100 kB a row at most, whatever the rows hold.
LONG_BYTES = 32_768
# Its bytes; of a row that an earlier release has written, those that it takes on the disk.
BYTES_OF = {
    "input": "coalesce(p.input_bytes, pg_column_size(p.input))",
    "output": "coalesce(p.output_bytes, pg_column_size(p.output))",
    "logs": "octet_length(p.logs)",
}
EMPTY = {"input": "NULL", "output": "NULL", "logs": "''"}
# By the number that SHORT gives them: 1 for the first, 2 for the second, 4 for the third.
LEFT_OUT = tuple(tuple(name for bit, name in enumerate(BYTES_OF) if number & 1 << bit) for number in range(8))


def _short(without: str = "false") -> str:
    """COLUMNS of `p` with the long values left out; where the condition `without` holds, all of them."""
    columns = [_value(name, without) if name in EMPTY else f"p.{name}" for name in COLUMNS.split(", ")]
    left_out = " + ".join(
        f"CASE WHEN {size} > {LONG_BYTES} THEN {1 << bit} ELSE 0 END"
        for bit, size in enumerate(BYTES_OF.values())
    )
    return ", ".join([*columns, f"{left_out} AS left_out"])


def _value(name: str, without: str) -> str:
    is_empty = f"{without} OR {BYTES_OF[name]} > {LONG_BYTES}"
    return f"CASE WHEN {is_empty} THEN {EMPTY[name]} ELSE p.{name} END AS {name}"


SHORT = _short()
RETURNING = f"RETURNING {SHORT}"
# What it was called with and what it answered, only a webhook repeats.
RETURNING_ENDED = f"RETURNING {_short('p.webhook IS NULL')}"
# Who accepts a prediction has its input.
RETURNING_NEW = f"RETURNING {_short('true')}"


def as_prediction(row: RowMapping | Mapping[str, Any]) -> Prediction:
    """A row of COLUMNS as the domain's Prediction. A dictionary becomes it, and is not the row any more."""
    values = row if isinstance(row, dict) else dict(row)
    values["status"] = Status(values["status"])
    values["metrics"] = values["metrics"] or {}
    values["left_out"] = LEFT_OUT[values.get("left_out", 0)]
    return Prediction(**values)


def execute(session: Session | Autocommit, statement: TextClause, **params: Any) -> list[Prediction]:
    """The rows that a statement returns (COLUMNS, or RETURNING of one that writes)."""
    return [as_prediction(row) for row in session.execute(statement, params).mappings()]


def execute_prepared(session: Session | Autocommit, statement: TextClause, **params: Any) -> list[Prediction]:
    """As `execute`, with a plan that the connection keeps, where it can (`Autocommit.execute_prepared`)."""
    if isinstance(session, Autocommit):
        return [as_prediction(row) for row in session.execute_prepared(statement, params)]
    return execute(session, statement, **params)


@dataclass(frozen=True, slots=True)
class ById:
    """A statement about predictions by their ids, and the same about one of them, whose plan a connection can
    keep: planning is most of what Postgres does for a lone one, and nothing worth for each of a group."""

    for_many: TextClause
    for_one: TextClause

    def execute(self, session: Session | Autocommit, ids: Sequence[str], **params: Any) -> list[Prediction]:
        """As the function `execute`."""
        if len(ids) == 1:
            return execute_prepared(session, self.for_one, id=ids[0], **params)
        return execute(session, self.for_many, ids=list(ids), **params)


def by_id(sql: str, *, for_one: str = "", for_many: str = "") -> ById:
    """`{ids}` in `sql` is the condition on `p.id`, `{columns}` are `for_one` or `for_many`. What it says of
    the status is `hidden`, so that it goes by the key."""
    many = sql.format(ids="p.id = ANY(:ids)", columns=for_many)
    return ById(text(many), text(sql.format(ids="p.id = :id", columns=for_one)))


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(list(rows)).decode()


_INSERT = f"""
    INSERT INTO predictions AS p (id, user_id, version_id, model, queue, routing, source, input, stream,
        deadline, timeout,
                                  webhook, webhook_events, idempotency_key, request_hash, notified_at,
        input_bytes, input_key, priority{{columns}})
    SELECT r.id, r.user_id, r.version_id, r.model, r.queue, r.routing, r.source, r.input, r.stream,
           now() + r.cancel_after * interval '1 s', r.timeout, r.webhook, r.webhook_events, r.idempotency_key,
           decode(r.request_hash, 'hex'), now(), r.input_bytes, r.input_key, coalesce(r.priority, 1){{values}}
    FROM json_to_recordset(:rows) AS r(id text, user_id uuid, version_id text, model text, queue text,
        routing json,
         source text, input json, stream bool, cancel_after float, timeout float, webhook text,
             webhook_events text[],
         idempotency_key text, request_hash text, input_bytes int, input_key text, priority smallint{{more}})
    ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    {RETURNING_NEW}"""
INSERT = text(_INSERT.format(columns="", values="", more=""))
_BEGUN = "now() - r.begun_ago * interval '1 s'"
INSERT_RUNNING = text(
    _INSERT.format(
        columns=", status, attempt, worker, created_at, started_at",
        values=f", 'processing', 1, :worker, {_BEGUN}, {_BEGUN}",
        more=", begun_ago float",
    )
)


def insert(
    session: Session | Autocommit, rows: Sequence[Mapping[str, Any]], worker: UUID | None = None
) -> list[Prediction]:
    """Inserts new predictions; those whose idempotency key exists already are left out of the answer, and
    everybody's input is.

    A row has the keys of INSERT's recordset; `cancel_after` and `timeout` in seconds, `request_hash` in hex.
    With a `worker` they run there already, in their first attempt, since `begun_ago` seconds.
    Two groups that hold the same keys wait for each other at the first: they come to them in the same order.
    """
    if any(row.get("idempotency_key") for row in rows):
        rows = sorted(rows, key=lambda row: (str(row["user_id"]), row.get("idempotency_key") or ""))
    if worker is not None:
        return execute_prepared(session, INSERT_RUNNING, rows=_json(rows), worker=worker)
    return execute_prepared(session, INSERT, rows=_json(rows))


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
    params = {"keys": _json([{"user_id": user, "key": key} for user, key in keys])}
    by_key: dict[tuple[UUID, str], tuple[Prediction, str | None]] = {}
    for row in session.execute(BY_KEY, params).mappings():
        values = dict(row)
        request_hash, key = values.pop("request_hash"), values.pop("idempotency_key")
        by_key[values["user_id"], key] = (as_prediction(values), request_hash)
    return by_key


GET = by_id("SELECT {columns} FROM predictions AS p WHERE {ids}", for_one=COLUMNS, for_many=SHORT)


def get(session: Session | Autocommit, ids: Sequence[str]) -> dict[str, Prediction]:
    """The predictions among `ids` that exist, by id. One alone is whole; of several, `left_out` names each
    value that is long."""
    return {prediction.id: prediction for prediction in GET.execute(session, ids)}


INPUTS = text("SELECT id, input FROM predictions WHERE id = ANY(:ids)")


def inputs(session: Session | Autocommit, ids: Sequence[str]) -> dict[str, dict[str, Any] | None]:
    """The inputs of these predictions, however long, as their rows hold them."""
    rows = session.execute(INPUTS, {"ids": list(ids)}).mappings()
    return {row["id"]: row["input"] for row in rows}


PROGRESS = text(f"""
    UPDATE predictions AS p SET output = coalesce(r.output, p.output), logs = coalesce(r.logs, p.logs),
           progress = coalesce(r.progress, p.progress, CASE WHEN r.begun THEN json '{{}}' END),
           generation = coalesce(r.generation, p.generation)
    FROM json_to_recordset(:rows) AS r(id text, attempt int, worker uuid, output json, logs text,
        progress json, begun bool, generation int)
    WHERE p.id = r.id AND p.attempt = r.attempt AND p.worker = r.worker AND p.status = 'processing'
    {RETURNING}""")


def progress(session: Session, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
    """Writes outputs, logs and steps of running predictions so far; None leaves a field as it was."""
    return execute(session, PROGRESS, rows=_json(_by_id(rows)))


def _by_id(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows to be updated, in the order in which every statement here locks them, so that two that come by the
    same ones wait for each other and do not deadlock."""
    return sorted(rows, key=lambda row: str(row["id"]))


FINISH = by_id(f"""
    UPDATE predictions AS p SET status = CASE WHEN p.cancel_requested THEN 'canceled' ELSE r.status END,
           output = CASE WHEN r.keeps_progress THEN p.output ELSE r.output END,
           output_bytes = r.output_bytes, output_key = r.output_key, file_bytes = r.file_bytes,
           error = CASE WHEN p.cancel_requested THEN p.error ELSE r.error END,
           error_code = CASE WHEN p.cancel_requested THEN NULL ELSE r.error_code END,
           logs = CASE WHEN r.keeps_progress THEN p.logs ELSE r.logs END,
           metrics = r.metrics, progress = coalesce(r.progress, p.progress),
           generation = CASE WHEN r.keeps_progress THEN p.generation ELSE r.generation END,
           completed_at = now()
    FROM json_to_recordset(:rows) AS r(id text, attempt int, worker uuid, status text, output json,
        error text,
         error_code text, logs text, metrics json, progress json, generation int, output_bytes int,
         output_key text, keeps_progress bool, file_bytes bigint)
    WHERE {{ids}} AND p.id = r.id AND p.attempt = r.attempt AND p.worker = r.worker
        AND {hidden("p.status")} = 'processing'
    {RETURNING_ENDED}""")


def finish(session: Session | Autocommit, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
    """The only way from `processing` to an end. A row whose fence (worker, attempt) does not hold is left out
    of the answer; of those without a webhook the answer has no input, output and logs."""
    rows = _by_id(rows)
    return FINISH.execute(session, [row["id"] for row in rows], rows=_json(rows))


CANCEL_WAITING = text(f"""
    UPDATE predictions AS p SET status = 'canceled', cancel_requested = true, completed_at = now(),
        error = :reason
    WHERE p.id = ANY(:ids) AND p.status = 'starting' {RETURNING}""")
CANCEL_RUNNING = text(f"""
    UPDATE predictions AS p SET cancel_requested = true, error = coalesce(p.error, :reason)
    WHERE p.id = ANY(:ids) AND p.status = 'processing' {RETURNING}""")


def cancel(
    session: Session, ids: Sequence[str], reason: str | None = None, *, waiting_only: bool = False
) -> tuple[list[Prediction], list[Prediction]]:
    """Ends the waiting ones and marks the running ones, unless it is for the `waiting_only`. Returns (ended,
    marked)."""
    ids = sorted(ids)
    ended = execute(session, CANCEL_WAITING, ids=ids, reason=reason)
    return ended, [] if waiting_only else execute(session, CANCEL_RUNNING, ids=ids, reason=reason)


HELD = text(
    "SELECT id, attempt, cancel_requested FROM predictions WHERE worker = :worker AND status = 'processing'"
)


def held(session: Session, worker: UUID) -> list[tuple[str, int, bool]]:
    """What this worker runs by the database's account: (id, attempt, whether somebody wants it stopped)."""
    return [(row.id, row.attempt, row.cancel_requested) for row in session.execute(HELD, {"worker": worker})]


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
    it. `reason` is kept with the attempt that ended so."""
    waiting = execute(session, REQUEUE, rows=_json(_by_id(rows)))
    requeued = {prediction.id for prediction in waiting}
    ended_attempts.add(session, [row for row in rows if row["id"] in requeued])
    return waiting


END_DELAY = text(f"""
    UPDATE predictions AS p SET run_after = least(run_after, now()), notified_at = now()
    WHERE p.id = :id AND p.status = 'starting' {RETURNING}""")


def end_delay(session: Session, prediction_id: str) -> list[Prediction]:
    """It may run at once, if it waits; the caller notifies a worker."""
    return execute(session, END_DELAY, id=prediction_id)


HELD_BY = text(
    f"SELECT {SHORT} FROM predictions AS p WHERE status = 'processing' AND worker = :worker FOR UPDATE"
)


def held_by(session: Session, worker: UUID) -> list[Prediction]:
    """Everything this worker runs; locked."""
    return execute(session, HELD_BY, worker=worker)


REMOVE_DATA = text(f"""
    UPDATE predictions AS p SET input = NULL, output = NULL, logs = '', routing = NULL, webhook = NULL,
        input_bytes = NULL, output_bytes = NULL, output_key = NULL, file_bytes = NULL, data_removed_at = now()
    WHERE p.id = ANY(:ids) AND p.completed_at IS NOT NULL AND p.data_removed_at IS NULL {RETURNING}""")


def remove_data(session: Session, ids: Sequence[str]) -> list[Prediction]:
    """Empties what a caller sent and got; the row with its times and metrics stays, and names a stored input
    until `forget_inputs`."""
    ended_attempts.remove(session, ids)
    return execute(session, REMOVE_DATA, ids=sorted(ids))


# Asked after a removal is committed: of two at once, the later one sees both.
UNNEEDED_INPUTS = text("""
    SELECT key FROM unnest(CAST(:keys AS text[])) AS named(key) WHERE NOT EXISTS (
        SELECT FROM predictions WHERE input_key = key AND data_removed_at IS NULL)""")
FORGET_INPUTS = text("""
    UPDATE predictions SET input_key = NULL WHERE input_key = ANY(:keys) AND data_removed_at IS NOT NULL""")


def unneeded_inputs(session: Session, keys: Sequence[str]) -> list[str]:
    """Those of the stored inputs that belong to removed predictions only."""
    return list(session.execute(UNNEEDED_INPUTS, {"keys": list(keys)}).scalars())


def forget_inputs(session: Session, keys: Sequence[str]) -> None:
    """These stored inputs are deleted."""
    session.execute(FORGET_INPUTS, {"keys": sorted(keys)})
