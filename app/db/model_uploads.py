"""Queries about uploads of models; their bytes are in the storage."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.objects import to_object, values_of
from app.db.platform_tables import ModelUploadRow
from app.domain.model_uploads import ModelUpload, NewModelUpload


def add(session: Session, upload: NewModelUpload) -> ModelUpload | None:
    """None when the user has one of the same content for the same model."""
    statement = insert(ModelUploadRow).values(**values_of(upload)).on_conflict_do_nothing()
    row = session.scalars(statement.returning(ModelUploadRow)).first()
    return to_object(ModelUpload, row) if row else None


def by_id(session: Session, upload_id: str) -> ModelUpload | None:
    row = session.get(ModelUploadRow, upload_id)
    return to_object(ModelUpload, row) if row else None


def by_content(session: Session, user_id: UUID, model: str, content: str) -> ModelUpload | None:
    """The user's upload of the same folder for the same model."""
    of_it = (ModelUploadRow.user_id == user_id, ModelUploadRow.model == model)
    row = session.scalars(select(ModelUploadRow).where(*of_it, ModelUploadRow.content == content)).first()
    return to_object(ModelUpload, row) if row else None


def list_of_user(session: Session, user_id: UUID, limit: int) -> list[str]:
    """Ids of a user's uploads."""
    return list(
        session.scalars(select(ModelUploadRow.id).where(ModelUploadRow.user_id == user_id).limit(limit))
    )


IS_USED = """EXISTS (SELECT FROM versions AS v JOIN models AS m ON m.id = v.model_id
    WHERE v.source = 'upload:' || u.id AND v.deleted_at IS NULL AND m.deleted_at IS NULL)"""
USED = text(f"SELECT {IS_USED} FROM model_uploads AS u WHERE u.id = :id FOR UPDATE OF u")
UNUSED = text(f"""
    SELECT u.id FROM model_uploads AS u
    WHERE u.created_at < now() - :hours * interval '1 h' AND NOT {IS_USED} LIMIT :limit""")


def is_used(session: Session, upload_id: str) -> bool:
    """Whether a version is made of it."""
    return bool(session.scalar(USED, {"id": upload_id}))


def unused(session: Session, hours: float, limit: int) -> list[str]:
    """Ids of those that are older than that, and of which no version is made."""
    return list(session.scalars(UNUSED, {"hours": hours, "limit": limit}))


FREE = text("""
    UPDATE storage_use AS s SET upload_bytes = greatest(0, s.upload_bytes - freed.bytes)
    FROM (SELECT user_id, sum(bytes) AS bytes FROM model_uploads
          WHERE id = ANY(:ids) GROUP BY user_id) AS freed
    WHERE s.user_id = freed.user_id""")


def remove(session: Session, ids: Sequence[str]) -> None:
    """The rows, and what they count of their users' quotas; the bytes are the caller's to delete."""
    session.execute(FREE, {"ids": list(ids)})
    session.execute(delete(ModelUploadRow).where(ModelUploadRow.id.in_(ids)))
