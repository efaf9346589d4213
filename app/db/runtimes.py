"""Queries about runtimes: what the fleet's workers said at their last start that they can run."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.tables import RuntimeRow


def all_specs(session: Session) -> dict[str, dict[str, Any]]:
    """Every known runtime's spec (the fields of runtimes.base.RuntimeSpec) by its name."""
    return {row.name: row.spec for row in session.scalars(select(RuntimeRow).order_by(RuntimeRow.name))}


def put(session: Session, specs: Mapping[str, Mapping[str, Any]], origin: str = "built-in") -> None:
    """Writes what a worker can run; a later word replaces an earlier one."""
    for name in sorted(specs):  # one order for all workers: two that start together must not lock each other out
        values = {"spec": dict(specs[name]), "origin": origin, "seen_at": func.now()}
        statement = insert(RuntimeRow).values(name=name, **values)
        session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
