"""Queries about tags of versions."""

from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.tables import VersionTagRow
from app.domain.versions import VersionTag


def _tag(row: VersionTagRow) -> VersionTag:
    return VersionTag(row.name, row.version_id, row.created_at)


def list_all(session: Session, model_id: UUID) -> list[VersionTag]:
    """A model's tags, by name."""
    rows = select(VersionTagRow).where(VersionTagRow.model_id == model_id).order_by(VersionTagRow.name)
    return [_tag(row) for row in session.scalars(rows)]


def version_of(session: Session, model_id: UUID, name: str) -> str:
    """The id of the version that the tag means; "" when the model has no such tag."""
    row = session.get(VersionTagRow, (model_id, name))
    return row.version_id if row else ""


def put(session: Session, model_id: UUID, name: str, version_id: str) -> VersionTag:
    """It means this version from now on."""
    statement = insert(VersionTagRow).values(model_id=model_id, name=name, version_id=version_id)
    again = statement.on_conflict_do_update(
        index_elements=["model_id", "name"], set_={"version_id": version_id}
    )
    rows = session.scalars(again.returning(VersionTagRow), execution_options={"populate_existing": True})
    return _tag(rows.one())


def remove(session: Session, model_id: UUID, name: str) -> bool:
    """Whether there was one."""
    own = (VersionTagRow.model_id == model_id, VersionTagRow.name == name)
    gone = delete(VersionTagRow).where(*own).returning(VersionTagRow.name)
    return session.scalar(gone) is not None


def remove_of_version(session: Session, version_id: str) -> None:
    """What is hidden has no names."""
    session.execute(delete(VersionTagRow).where(VersionTagRow.version_id == version_id))
