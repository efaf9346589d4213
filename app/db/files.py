"""Queries about uploaded files; their bytes are in the storage."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from app.db.pages import Page, page
from app.db.tables import FileRow

LIVE = or_(FileRow.expires_at.is_(None), FileRow.expires_at > func.now())


def add(session: Session, row: FileRow) -> None:
    """Inserts at once, so that the database's defaults are readable."""
    session.add(row)
    session.flush()


def by_id(session: Session, file_id: str) -> FileRow | None:
    """A file that has not expired, whoever owns it."""
    return session.scalars(select(FileRow).where(FileRow.id == file_id, LIVE)).first()


def owned(session: Session, user_id: UUID, ids: Sequence[str]) -> set[str]:
    """Those of the files that are the user's and have not expired."""
    return set(
        session.scalars(select(FileRow.id).where(FileRow.id.in_(ids), FileRow.user_id == user_id, LIVE))
    )


def of_user(session: Session, user_id: UUID, *, cursor: str | None, limit: int) -> Page[FileRow]:
    """A user's files that have not expired, newest first."""
    mine = select(FileRow).where(FileRow.user_id == user_id, LIVE)
    return page(session, mine, FileRow.created_at, FileRow.id, cursor=cursor, limit=limit)


def remove(session: Session, row: FileRow) -> None:
    """Deletes the row."""
    session.delete(row)


def expired(session: Session, limit: int) -> list[tuple[str, str]]:
    """(id, storage key) of files whose time has passed."""
    found = select(FileRow.id, FileRow.storage_key).where(FileRow.expires_at <= func.now()).limit(limit)
    return [(file_id, key) for file_id, key in session.execute(found)]


def forget(session: Session, ids: Sequence[str]) -> None:
    """Deletes the rows of files whose content is gone."""
    session.execute(delete(FileRow).where(FileRow.id.in_(ids)))
