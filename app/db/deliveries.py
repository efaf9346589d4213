"""Queries about the webhook outbox. Rows are written in the transaction of the state change that they are
about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import and_, insert, or_, select, text
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.orm import Session, defer

from app.coalesce import GROUP_BYTES
from app.db.objects import to_object
from app.db.pages import page
from app.db.planner import by_index
from app.db.tables import DeliveryAttemptRow, DeliveryRow
from app.domain.deliveries import Delivery, DeliveryAttempt, DeliveryResult, DueDelivery, SentDelivery
from app.domain.pages import Page


def insert_many(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds outbox rows; an id that is there already is left alone. Keys: id, prediction_id, user_id, event,
    url, body."""
    session.execute(pg_insert(DeliveryRow).on_conflict_do_nothing(), [dict(row) for row in rows])


# Looked at in one statement: enough to find other hosts behind a burst for one, few enough to be quick.
LOOKED_AT = 2_000
# The part of a URL between `//` and the next `/`, `?` or `#`; hosts differ in capitals only by accident.
HOST = "lower(substring(url from '//([^/?#]*)'))"
SENDER = "coalesce(user_id::text, '')"
# Turn about: everybody's first, then everybody's second.
TAKE_DUE = text(f"""
    WITH due AS (
        SELECT id, next_at, {HOST} AS host, {SENDER} AS sender, octet_length(body) AS bytes FROM deliveries
        WHERE next_at <= now() AND (leased_until IS NULL OR leased_until < now())
          AND {HOST} <> ALL(:full_hosts) AND {SENDER} <> ALL(:full_users)
        ORDER BY next_at LIMIT :looked_at
    ), by_host AS (
        SELECT id, next_at, sender, bytes, due.host,
            row_number() OVER (PARTITION BY due.host ORDER BY next_at) AS number FROM due
    ), may_open AS (
        SELECT id, next_at, sender, bytes, row_number() OVER (PARTITION BY sender ORDER BY next_at) AS turn
        FROM by_host LEFT JOIN json_each_text(:hosts) AS busy(host, count) ON busy.host = by_host.host
        WHERE number <= :per_host - coalesce(busy.count::int, 0)
    ), chosen AS (
        SELECT may_open.id, turn, bytes,
            sum(bytes) OVER (ORDER BY turn, next_at, may_open.id ROWS UNBOUNDED PRECEDING) AS together
        FROM may_open
        LEFT JOIN json_each_text(:users) AS busy(sender, count) ON busy.sender = may_open.sender
        WHERE turn <= (:free - coalesce(busy.count::int, 0) + 1) / 2
        ORDER BY turn, next_at, may_open.id LIMIT :limit
    ), locked AS (
        SELECT id FROM deliveries
        WHERE id IN (SELECT id FROM chosen WHERE together <= {GROUP_BYTES} OR together = bytes)
          AND next_at <= now() AND (leased_until IS NULL OR leased_until < now()) FOR UPDATE SKIP LOCKED
    )
    UPDATE deliveries AS d SET leased_until = now() + :lease * interval '1 s' FROM locked
        WHERE d.id = locked.id
    RETURNING d.id, d.event, d.url, d.body, d.tries, d.user_id, d.prediction_id,
              (SELECT p.routing FROM predictions p WHERE p.id = d.prediction_id) AS routing,
              (SELECT array_remove(ARRAY[u.webhook_secret, CASE WHEN u.previous_webhook_secret_until > now()
                          THEN u.previous_webhook_secret END], NULL)
               FROM users u WHERE u.id = d.user_id) AS secrets""")


@dataclass(frozen=True, slots=True)
class OpenDeliveries:
    """What a courier has open, by host and by user (`sender_of`), and how many more it could open."""

    hosts: Mapping[str, int]
    users: Mapping[str, int]
    free: int


def sender_of(user_id: UUID | None) -> str:
    """As SENDER: all anonymous callers are one."""
    return str(user_id or "")


def take_due(
    session: Session, limit: int, now_open: OpenDeliveries, per_host: int, lease_seconds: float
) -> list[DueDelivery]:
    """Leases at most `limit` of what is due, with bodies of GROUP_BYTES together or one that is larger; the
    longest due first, and users in turn. With what is open no host has more than `per_host`, and no user more
    than there are free places after it."""
    params = {
        "limit": limit,
        "full_hosts": [host for host, count in now_open.hosts.items() if count >= per_host],
        "full_users": [user for user, count in now_open.users.items() if count >= now_open.free],
        "hosts": orjson.dumps(dict(now_open.hosts)).decode(),
        "users": orjson.dumps(dict(now_open.users)).decode(),
        "free": now_open.free,
        "per_host": per_host,
        "looked_at": LOOKED_AT,
        "lease": lease_seconds,
    }
    rows = session.execute(TAKE_DUE, params).mappings()
    return [_due(dict(row)) for row in rows]


def _due(values: dict[str, Any]) -> DueDelivery:
    routing = values.pop("routing") or {}
    known = {name: routing.get(name) for name in ("request_id", "traceparent")}
    return DueDelivery(**{**values, **known, "body": bytes(values["body"])})


# Not of a delivery without a lease: it is to be sent again, which was asked for while this try was under way.
RECORD = text("""
    UPDATE deliveries AS d SET tries = d.tries + 1, leased_until = NULL,
           next_at = now() + r.delay * interval '1 s',
           delivered_at = CASE WHEN r.error IS NULL THEN now() END,
           given_up_at = CASE WHEN r.error IS NOT NULL AND r.delay IS NULL THEN now() END
    FROM json_to_recordset(:rows) AS r(id text, error text, delay float)
    WHERE d.id = r.id AND d.leased_until IS NOT NULL""")


def record(session: Session, results: Sequence[DeliveryResult]) -> None:
    """Writes the tries and when to try again (never again when delivered or given up)."""
    rows = [{"id": result.id, "error": result.error, "delay": result.delay} for result in results]
    session.execute(RECORD, {"rows": orjson.dumps(rows).decode()})
    attempts = [
        {
            "delivery_id": result.id,
            "status_code": result.status,
            "error": result.error,
            "seconds": result.seconds,
        }
        for result in results
    ]
    session.execute(insert(DeliveryAttemptRow), attempts)


def by_prediction(session: Session, prediction_id: str, *, cursor: str | None, limit: int) -> Page[Delivery]:
    """A prediction's deliveries, oldest first, each with its tries."""
    query = select(DeliveryRow).where(DeliveryRow.prediction_id == prediction_id)
    query = query.options(defer(DeliveryRow.body))
    by, ident = DeliveryRow.created_at, DeliveryRow.id
    rows = page(session, query, by, ident, cursor=cursor, limit=limit, oldest_first=True)
    attempts = _attempts(session, [row.id for row in rows.results])
    return rows.map(lambda row: _delivery(row, attempts[row.id]))


def body(session: Session, prediction_id: str, delivery_id: str) -> bytes | None:
    """What one of a prediction's deliveries sends; None when there is no such one."""
    of_it = DeliveryRow.prediction_id == prediction_id, DeliveryRow.id == delivery_id
    content = session.scalars(select(DeliveryRow.body).where(*of_it)).first()
    return None if content is None else bytes(content)


def list_of_user(
    session: Session, user_id: UUID, *, failed: bool, cursor: str | None, limit: int
) -> Page[SentDelivery]:
    """A user's deliveries, newest first, each with its tries; `failed`: only those that were given up or are
    to be tried again."""
    chosen = select(DeliveryRow).where(DeliveryRow.user_id == user_id).options(defer(DeliveryRow.body))
    if failed:
        is_tried = and_(DeliveryRow.next_at.is_not(None), DeliveryRow.tries > 0)
        chosen = chosen.where(or_(DeliveryRow.given_up_at.is_not(None), is_tried))
    rows = page(session, chosen, DeliveryRow.created_at, DeliveryRow.id, cursor=cursor, limit=limit)
    attempts = _attempts(session, [row.id for row in rows.results])
    return rows.map(lambda row: SentDelivery(row.prediction_id, _delivery(row, attempts[row.id])))


def _attempts(session: Session, ids: Sequence[str]) -> dict[str, list[DeliveryAttempt]]:
    attempts: dict[str, list[DeliveryAttempt]] = {delivery_id: [] for delivery_id in ids}
    of_these = select(DeliveryAttemptRow).where(DeliveryAttemptRow.delivery_id.in_(attempts))
    for attempt in session.scalars(of_these.order_by(DeliveryAttemptRow.id)):
        attempts[attempt.delivery_id].append(to_object(DeliveryAttempt, attempt))
    return attempts


def _delivery(row: DeliveryRow, attempts: Sequence[DeliveryAttempt]) -> Delivery:
    return Delivery(
        id=row.id,
        event=row.event,
        url=row.url,
        tries=row.tries,
        created_at=row.created_at,
        next_at=row.next_at,
        delivered_at=row.delivered_at,
        given_up_at=row.given_up_at,
        attempts=tuple(attempts),
    )


REDELIVER = text("""
    UPDATE deliveries SET next_at = now(), leased_until = NULL, delivered_at = NULL, given_up_at = NULL,
        tries = 0
    WHERE id IN (
        SELECT d.id FROM deliveries AS d
        WHERE prediction_id = :prediction AND (CAST(:delivery AS text) IS NULL OR d.id = :delivery)
          AND (SELECT count(*) FROM delivery_attempts WHERE delivery_id = d.id) < :most_tries
        ORDER BY d.created_at DESC, d.id DESC LIMIT :limit)
    RETURNING id""")
MOST_TRIES = 100  # of one delivery, all of which are kept and shown
MOST_REDELIVERED = 100


def redeliver(session: Session, prediction_id: str, delivery_id: str | None = None) -> list[str]:
    """Makes one delivery of a prediction, or the newest MOST_REDELIVERED, due again with the same id and
    body; not those that were tried MOST_TRIES times. Returns their ids."""
    params = {"prediction": prediction_id, "delivery": delivery_id}
    bounds = {"most_tries": MOST_TRIES, "limit": MOST_REDELIVERED}
    return list(session.execute(REDELIVER, params | bounds).scalars())


EXISTS = text("""
    SELECT EXISTS (SELECT FROM deliveries WHERE prediction_id = :prediction
                   AND (CAST(:delivery AS text) IS NULL OR id = :delivery))""")


def is_any(session: Session, prediction_id: str, delivery_id: str | None = None) -> bool:
    """Whether the prediction has this delivery, or any."""
    return bool(session.scalar(EXISTS, {"prediction": prediction_id, "delivery": delivery_id}))


FORGET = text("DELETE FROM deliveries WHERE prediction_id = ANY(:ids)")


def forget(session: Session, predictions: Sequence[str]) -> None:
    """Removes all webhooks of these predictions, sent or not, with their tries: their bodies hold the
    predictions' data."""
    session.execute(FORGET, {"ids": list(predictions)})


# Along an index of what was delivered or given up: no sweep reads what is not old enough.
FORGET_OLD = by_index("""
    DELETE FROM deliveries WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM deliveries WHERE next_at IS NULL
            AND created_at < now() - :days * interval '1 day' ORDER BY created_at LIMIT :limit))""")


def forget_old(session: Session, days: int, limit: int) -> None:
    """Removes at most `limit` deliveries that are over and older than `days`."""
    session.execute(FORGET_OLD, {"days": days, "limit": limit})
