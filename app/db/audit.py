"""Queries about the audit log."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from app.db.tables import AuditRow


def add(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Adds entries."""
    session.execute(insert(AuditRow), list(rows))


def page(
    session: Session,
    *,
    before: int | None,
    limit: int,
    action: str | None,
    username: str | None,
    since: datetime | None,
) -> list[AuditRow]:
    """Entries, newest first, with ids below `before`; only of this action, by this user, from this time
    on."""
    query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditRow.id < before)
    if action:
        query = query.where(AuditRow.action == action)
    if username:
        query = query.where(AuditRow.username == username)
    if since:
        query = query.where(AuditRow.at >= since)
    return list(session.scalars(query))


def forget(session: Session, days: int, limit: int) -> int:
    """Removes at most `limit` entries older than `days`; returns how many."""
    old = select(AuditRow.id).where(AuditRow.at < func.now() - func.make_interval(0, 0, 0, days)).limit(limit)
    return session.execute(delete(AuditRow).where(AuditRow.id.in_(old))).rowcount  # type: ignore[attr-defined, no-any-return]
