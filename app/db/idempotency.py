"""Queries about idempotency keys: what each has made, and for which request."""

from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.tables import IdempotencyRow


def by_key(session: Session, user_id: UUID, operation: str, key: str) -> tuple[bytes, str] | None:
    """(hash of the request, id of the resource) of what this key of the user has made."""
    row = session.get(IdempotencyRow, (user_id, operation, key))
    return (bytes(row.request_hash), row.resource) if row else None


def put(session: Session, values: dict[str, Any]) -> bool:
    """Writes a key down; False when it is there already. Waits while another transaction is about to write
    the same one."""
    statement = insert(IdempotencyRow).values(**values).on_conflict_do_nothing().returning(IdempotencyRow.key)
    return session.execute(statement).first() is not None


def remove_all(session: Session, user_id: UUID) -> None:
    """Removes all keys of a user."""
    session.execute(delete(IdempotencyRow).where(IdempotencyRow.user_id == user_id))


def forget(session: Session, hours: int, limit: int) -> None:
    """Removes at most `limit` keys older than `hours`."""
    row = IdempotencyRow
    identity = (row.user_id, row.operation, row.key)
    old = (
        select(*identity)
        .where(row.created_at < func.now() - func.make_interval(0, 0, 0, 0, hours))
        .limit(limit)
    )
    session.execute(delete(row).where(tuple_(*identity).in_(old)))
