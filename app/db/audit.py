"""Queries about the audit log."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from app.db.objects import to_object, values_of
from app.db.tables import AuditRow
from app.domain.audit import AuditEntry, NewAuditEntry


def add(session: Session, entries: Sequence[NewAuditEntry]) -> None:
    """Adds entries, in order."""
    session.execute(insert(AuditRow), [values_of(entry) for entry in entries])


def page(
    session: Session,
    *,
    before: int | None,
    limit: int,
    action: str | None,
    username: str | None,
    since: datetime | None,
) -> list[AuditEntry]:
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
    return [to_object(AuditEntry, row) for row in session.scalars(query)]


def forget(session: Session, days: int, limit: int) -> int:
    """Removes at most `limit` entries older than `days`; returns how many."""
    before = func.now() - func.make_interval(0, 0, 0, days)
    old = select(AuditRow.id).where(AuditRow.at < before).limit(limit)
    removed: Any = session.execute(delete(AuditRow).where(AuditRow.id.in_(old)))
    return int(removed.rowcount)
