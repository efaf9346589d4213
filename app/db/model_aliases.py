"""Queries about other names of models."""

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.tables import ModelAliasRow


def list_all(session: Session) -> dict[str, str]:
    """`owner/name` by alias, in order."""
    statement = select(ModelAliasRow.name, ModelAliasRow.model).order_by(ModelAliasRow.name)
    return {name: model for name, model in session.execute(statement)}


def model_of(session: Session, name: str) -> str:
    """What it stands for; "" when it is no alias."""
    return session.scalar(select(ModelAliasRow.model).where(ModelAliasRow.name == name)) or ""


def put(session: Session, name: str, model: str) -> None:
    """It stands for this from now on."""
    statement = insert(ModelAliasRow).values(name=name, model=model)
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"model": model}))


def remove(session: Session, name: str) -> bool:
    """Whether there was one."""
    gone = delete(ModelAliasRow).where(ModelAliasRow.name == name).returning(ModelAliasRow.name)
    return session.scalar(gone) is not None
