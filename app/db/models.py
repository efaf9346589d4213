"""Queries about models. A deleted model's row stays (predictions name it), its name becomes free."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, or_, select, text, true
from sqlalchemy.orm import Session, load_only

from app.db.pages import Page, page
from app.db.tables import ModelRow


def by_name(session: Session, owner: str, name: str) -> ModelRow | None:
    """The model that has this name now."""
    named = (ModelRow.owner == owner, ModelRow.name == name, ModelRow.deleted_at.is_(None))
    return session.scalars(select(ModelRow).where(*named)).first()


def by_id(session: Session, model_id: UUID) -> ModelRow | None:
    """One model, deleted or not."""
    return session.get(ModelRow, model_id)


def add(session: Session, row: ModelRow) -> None:
    """Inserts at once. Raises IntegrityError when the name is taken."""
    session.add(row)
    session.flush()


def _visible_to(user_id: UUID | None, everything: bool) -> Select[ModelRow]:
    public = ModelRow.visibility == "public"
    mine = public if user_id is None else or_(public, ModelRow.owner_id == user_id)
    return select(ModelRow).where(ModelRow.deleted_at.is_(None), true() if everything else mine)


def visible(
    session: Session,
    user_id: UUID | None,
    *,
    everything: bool,
    cursor: str | None,
    limit: int,
    query: str = "",
) -> Page[ModelRow]:
    """Public models and the user's own; with `everything`, all. `query`: words that name or description must
    hold."""
    statement = _visible_to(user_id, everything)
    for word in query.split():
        like = "%" + word.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_") + "%"
        fields = (ModelRow.owner + "/" + ModelRow.name, ModelRow.description)
        statement = statement.where(or_(*(field.ilike(like) for field in fields)))
    return page(session, statement, ModelRow.created_at, ModelRow.id, cursor=cursor, limit=limit)


def names(session: Session, user_id: UUID | None, *, everything: bool, limit: int) -> list[ModelRow]:
    """The newest of the visible models, with their names and times only."""
    columns = load_only(ModelRow.owner, ModelRow.name, ModelRow.created_at, raiseload=True)
    statement = _visible_to(user_id, everything).options(columns)
    return list(
        session.scalars(statement.order_by(ModelRow.created_at.desc(), ModelRow.id.desc()).limit(limit))
    )


def change(row: ModelRow, values: Mapping[str, Any]) -> None:
    """Sets some of the row's columns; written at the unit of work's end."""
    for name, value in values.items():
        setattr(row, name, value)


def remove(row: ModelRow) -> None:
    """Marks the model as deleted."""
    row.deleted_at = func.now()


RUN_COUNTS = text("SELECT model, count(*) FROM predictions GROUP BY model")


def run_counts(session: Session) -> dict[str, int]:
    """How many predictions each owner/name has had. Reads the whole table: callers keep the answer for a
    while."""
    return {str(model): int(count) for model, count in session.execute(RUN_COUNTS)}
