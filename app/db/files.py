"""Queries about uploaded files; their bytes are in the storage."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from app.db import storage_use
from app.db.objects import to_object, values_of
from app.db.pages import page
from app.db.tables import FileRow
from app.domain.files import NewFile, UploadedFile
from app.domain.pages import Page

LIVE = or_(FileRow.expires_at.is_(None), FileRow.expires_at > func.now())


def _file(row: FileRow) -> UploadedFile:
    return to_object(UploadedFile, row)


def add(session: Session, file: NewFile) -> UploadedFile:
    """Inserts at once."""
    row = FileRow(**values_of(file))
    session.add(row)
    session.flush()
    return _file(row)


def by_id(session: Session, file_id: str) -> UploadedFile | None:
    """A file that has not expired, whoever owns it."""
    row = session.scalars(select(FileRow).where(FileRow.id == file_id, LIVE)).first()
    return _file(row) if row else None


def owned(session: Session, user_id: UUID, ids: Sequence[str]) -> set[str]:
    """Those of the files that are the user's and have not expired."""
    return set(
        session.scalars(select(FileRow.id).where(FileRow.id.in_(ids), FileRow.user_id == user_id, LIVE))
    )


def by_user(session: Session, user_id: UUID, *, cursor: str | None, limit: int) -> Page[UploadedFile]:
    """A user's files that have not expired, newest first."""
    mine = select(FileRow).where(FileRow.user_id == user_id, LIVE)
    rows = page(session, mine, FileRow.created_at, FileRow.id, cursor=cursor, limit=limit)
    return rows.map(_file)


def expired(session: Session, limit: int) -> list[tuple[str, str]]:
    """(id, storage key) of files whose time has passed."""
    query = select(FileRow.id, FileRow.storage_key).where(FileRow.expires_at <= func.now()).limit(limit)
    return [(file_id, key) for file_id, key in session.execute(query)]


def contents_of(session: Session, user_id: UUID, limit: int) -> list[tuple[str, str]]:
    """(id, storage key) of a user's files, expired ones too."""
    query = select(FileRow.id, FileRow.storage_key).where(FileRow.user_id == user_id).limit(limit)
    return [(file_id, key) for file_id, key in session.execute(query)]


def forget(session: Session, ids: Sequence[str]) -> None:
    """Deletes the rows of files; their bytes are the caller's to delete."""
    storage_use.remove_uploads(session, ids)
    session.execute(delete(FileRow).where(FileRow.id.in_(ids)))
