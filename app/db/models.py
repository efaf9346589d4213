"""Queries about models. A deleted model's row stays (predictions name it), its name becomes free."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, or_, select, true, update
from sqlalchemy.orm import Session

from app.db.objects import to_object, values_of
from app.db.pages import page
from app.db.tables import ModelRow
from app.domain.models import Model, ModelName, NewModel
from app.domain.pages import Page


def _model(row: ModelRow) -> Model:
    return to_object(Model, row)


def by_name(session: Session, owner: str, name: str) -> Model | None:
    """The model that has this name now."""
    named = (ModelRow.owner == owner, ModelRow.name == name, ModelRow.deleted_at.is_(None))
    row = session.scalars(select(ModelRow).where(*named)).first()
    return _model(row) if row else None


def by_id(session: Session, model_id: UUID) -> Model | None:
    """One model, deleted or not."""
    row = session.get(ModelRow, model_id)
    return _model(row) if row else None


def add(session: Session, model: NewModel) -> Model:
    """Inserts at once. Raises IntegrityError when the name is taken."""
    row = ModelRow(**values_of(model))
    session.add(row)
    session.flush()
    return _model(row)


def _visible_to(user_id: UUID | None, everything: bool) -> tuple[ColumnElement[bool], ...]:
    public = ModelRow.visibility == "public"
    mine = public if user_id is None else or_(public, ModelRow.owner_id == user_id)
    return ModelRow.deleted_at.is_(None), true() if everything else mine


def list_visible(
    session: Session,
    user_id: UUID | None,
    *,
    everything: bool,
    cursor: str | None,
    limit: int,
    query: str = "",
) -> Page[Model]:
    """Public models and the user's own; with `everything`, all. `query`: words that name or description must
    hold."""
    statement = select(ModelRow).where(*_visible_to(user_id, everything))
    for word in query.split():
        like = "%" + word.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_") + "%"
        fields = (ModelRow.owner + "/" + ModelRow.name, ModelRow.description)
        statement = statement.where(or_(*(field.ilike(like) for field in fields)))
    rows = page(session, statement, ModelRow.created_at, ModelRow.id, cursor=cursor, limit=limit)
    return rows.map(_model)


def list_names(session: Session, user_id: UUID | None, *, everything: bool, limit: int) -> list[ModelName]:
    """The newest of the visible models, with their names and times only."""
    statement = select(ModelRow.owner, ModelRow.name, ModelRow.created_at)
    newest = statement.where(*_visible_to(user_id, everything)).order_by(
        ModelRow.created_at.desc(), ModelRow.id.desc()
    )
    return [ModelName(*row) for row in session.execute(newest.limit(limit))]


def owners_of(
    session: Session, user_id: UUID | None, name: str, *, everything: bool, limit: int
) -> list[str]:
    """Whose visible models have this name; the user's own first, then the newest."""
    own = case((ModelRow.owner_id == user_id, 0), else_=1) if user_id else ModelRow.owner
    named = (ModelRow.name == name, *_visible_to(user_id, everything))
    statement = select(ModelRow.owner).where(*named).order_by(own, ModelRow.created_at.desc(), ModelRow.id)
    return list(session.scalars(statement.limit(limit)))


def change(session: Session, model: Model, values: Mapping[str, Any]) -> Model:
    """Sets some of the columns, if any."""
    if not values:
        return model
    statement = update(ModelRow).where(ModelRow.id == model.id).values(**values).returning(ModelRow)
    return _model(session.scalars(statement, execution_options={"populate_existing": True}).one())


def remove(session: Session, model_id: UUID) -> None:
    """Marks the model as deleted."""
    session.execute(update(ModelRow).where(ModelRow.id == model_id).values(deleted_at=func.now()))


def remove_all(session: Session, owner_id: UUID, username: str, heir: UUID) -> None:
    """Marks all models of a user as deleted; those under another name than `username` become the heir's."""
    own = (ModelRow.owner_id == owner_id, ModelRow.deleted_at.is_(None))
    session.execute(update(ModelRow).where(*own, ModelRow.owner == username).values(deleted_at=func.now()))
    session.execute(update(ModelRow).where(*own, ModelRow.owner != username).values(owner_id=heir))
