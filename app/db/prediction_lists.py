"""Lists of predictions, newest first, narrowed by what a reader looks for. Reads only.

Some conditions have an index, others do not: for those a page looks at so many rows at most and says where it
stopped, so that no list takes longer the more rows there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db import queue_counts
from app.db.planner import hidden
from app.db.predictions import LONG_BYTES, SHORT, execute
from app.domain.predictions import Prediction, Status, lowest_id

# What differs between two errors of a kind: what is quoted, hexadecimal, or a number.
_PATTERN = r"""''[^'']*''|"[^"]*"|\m[0-9a-f]{8,}\M|[0-9]+([.][0-9]+)?"""
_TEXT = f"regexp_replace(left(coalesce(error, ''), 500), '{_PATTERN}', '#', 'g')"
# Two failures are of one group when model, code and the error's text are the same but for that. Computed, not
# stored: a prediction that does not fail pays nothing for it.
ERROR_GROUP = f"left(md5(model || ' ' || coalesce(error_code, '') || ' ' || {_TEXT}), 16)"


@dataclass(frozen=True, slots=True)
class Filter:
    """What a list is narrowed to; None: anything. `user_id` None: anonymous callers', unless it is
    `everybody`."""

    user_id: UUID | None = None
    status: Status | None = None
    model: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    error_group: str | None = None
    version: str | None = None
    deployment: str | None = None
    source: str | None = None
    error_code: str | None = None
    text: str | None = None
    everybody: bool = False


# An id bears the time of the API process that made it, `created_at` is Postgres's: a list narrowed by time
# looks so much further.
CLOCK_SKEW = timedelta(hours=1)
LOOKED_AT = 5_000  # rows of a page whose conditions no index serves: some 50 ms
# A text is looked for in what is short: LOOKED_AT long values would be hundreds of megabytes.
_CONTAINS = f"""(strpos(lower(concat_ws(E'\n', id, error,
    CASE WHEN coalesce(input_bytes, pg_column_size(input)) <= {LONG_BYTES} THEN input::text END,
    CASE WHEN coalesce(output_bytes, pg_column_size(output)) <= {LONG_BYTES} THEN output::text END)),
    lower(:text)) > 0)"""
UNINDEXED = {
    "version": "version_id = :version",
    "deployment": "routing ->> 'deployment' = :deployment",
    "source": "source = :source",
    "error_code": "error_code = :error_code",
    "text": _CONTAINS,
}


FEW = 10_000  # unfinished predictions of a user whose ids are sorted: some milliseconds
LAST_ID = "~"  # sorts behind every id
# Of what a worker has claimed, `progress` says whether its model has begun it (Prediction.shown_status).
STATUS = {
    Status.STARTING: "(status = 'starting' OR (status = 'processing' AND progress IS NULL))",
    Status.PROCESSING: "status = 'processing' AND progress IS NOT NULL",
}


@dataclass(frozen=True, slots=True)
class Rows:
    """`stopped_at`: the last id that was looked at, when there were too many to look at all."""

    predictions: list[Prediction]
    stopped_at: str | None = None


def page(session: Session, narrowed: Filter, *, before: str | None, after: str | None, limit: int) -> Rows:
    """At most `limit` predictions, newest first, with ids below `before` or above `after` (one of them at
    most); long values are left out."""
    clauses, params = where_clauses(narrowed)
    conditions = _unindexed(narrowed)
    by = "id" if conditions else _order_of(session, narrowed)
    clauses += [f"{by} < :before"] if before is not None else []
    clauses += [f"{by} > :after"] if after is not None else []
    order = "ASC" if after is not None else "DESC"
    params |= {"before": before, "after": after, "limit": limit}
    if conditions:
        return _look_through(session, clauses, conditions, order, params)
    where = f"{_where(clauses)} ORDER BY {by} {order} LIMIT :limit"
    if by != "id":  # the ids alone are sorted: whole rows are ten times as slow
        where = f"WHERE id IN (SELECT id FROM predictions {where}) ORDER BY id {order}"
    predictions = execute(session, text(f"SELECT {SHORT} FROM predictions AS p {where}"), **params)
    return Rows(predictions[::-1] if after is not None else predictions)


def _order_of(session: Session, narrowed: Filter) -> str:
    """What a list is ordered by. Of a user with few unfinished ones these are read and sorted: by their ids
    alone, a neighbour's flood has Postgres expect them among the newest and walk through all that has ended.
    """
    if narrowed.everybody or narrowed.status not in STATUS:
        return "id"
    waiting = queue_counts.waiting_of_user(session, narrowed.user_id, LAST_ID, FEW)
    return hidden("id") if waiting < FEW else "id"


def _unindexed(narrowed: Filter) -> list[str]:
    conditions = [clause for name, clause in UNINDEXED.items() if getattr(narrowed, name) is not None]
    if narrowed.everybody:  # the indexes begin with a user
        conditions += [_has_status(narrowed)] if narrowed.status else []
        conditions += ["model = :model"] if narrowed.model else []
    return conditions


def _look_through(
    session: Session, clauses: Sequence[str], conditions: Sequence[str], order: str, params: dict[str, Any]
) -> Rows:
    extreme = "max" if order == "ASC" else "min"
    sql = f"""
        WITH looked_at AS MATERIALIZED (
            SELECT id, {" AND ".join(conditions)} AS fits FROM predictions {_where(clauses)}
            ORDER BY id {order} LIMIT :looked_at)
        SELECT (SELECT count(*) FROM looked_at) AS n, (SELECT {extreme}(id) FROM looked_at) AS last,
               ARRAY(SELECT id FROM looked_at WHERE fits ORDER BY id {order} LIMIT :limit) AS ids"""
    looked = session.execute(text(sql), {**params, "looked_at": LOOKED_AT}).one()
    predictions = execute(session, BY_IDS, ids=looked.ids) if looked.ids else []
    return Rows(predictions, looked.last if looked.n == LOOKED_AT else None)


BY_IDS = text(f"SELECT {SHORT} FROM predictions AS p WHERE id = ANY(:ids) ORDER BY id DESC")


def _has_status(narrowed: Filter) -> str:
    return STATUS.get(narrowed.status, "status = :status") if narrowed.status else ""


def _where(clauses: Sequence[str]) -> str:
    return f"WHERE {' AND '.join(clauses)}" if clauses else ""


def where_clauses(narrowed: Filter) -> tuple[list[str], dict[str, Any]]:
    """The conditions of a list that an index serves, and the parameters of all."""
    whose = "user_id = :user_id" if narrowed.user_id else "user_id IS NULL"
    is_one = not narrowed.everybody
    clauses = [whose] if is_one else []
    clauses += [
        clause
        for value, clause in (
            (narrowed.status if is_one else None, _has_status(narrowed)),
            (narrowed.model if is_one else None, "model = :model"),
            (narrowed.created_after, "created_at >= :created_after AND id >= :least"),
            (narrowed.created_before, "created_at < :created_before AND id <= :most"),
            (narrowed.error_group, f"status = 'failed' AND {ERROR_GROUP} = :error_group"),
        )
        if value is not None
    ]
    params = {name: getattr(narrowed, name) for name in Filter.__slots__}
    params |= {
        "least": _near(narrowed.created_after, -CLOCK_SKEW),
        "most": _near(narrowed.created_before, CLOCK_SKEW),
    }
    return clauses, params


def _near(moment: datetime | None, more: timedelta) -> str | None:
    """The id that sorts first of those made at a moment and some more; ids begin with their API process's
    time."""
    return lowest_id(max(0, int((moment.timestamp() + more.total_seconds()) * 1000))) if moment else None
