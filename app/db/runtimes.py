"""Queries about runtimes: what the fleet's workers said at their last start that they can run."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.tables import RuntimeRow

# Before the name of a file that cannot be imported: no runtime's name has a colon.
BROKEN = "broken:"


def all_specs(session: Session) -> dict[str, dict[str, Any]]:
    """Every usable runtime's spec (the fields of runtimes.base.RuntimeSpec) by its name."""
    return {row.name: row.spec for row in everything(session) if not row.name.startswith(BROKEN)}


def everything(session: Session) -> Sequence[RuntimeRow]:
    """The broken files, too."""
    return session.scalars(select(RuntimeRow).order_by(RuntimeRow.name)).all()


def put(
    session: Session, specs: Mapping[str, Mapping[str, Any]], origins: Mapping[str, str] | None = None
) -> None:
    """Writes what a worker can run and what it could not read, by name; a later word replaces an earlier one.

    A broken file that came to work, under whatever name, is no longer listed as broken.
    """
    seen = set((origins or {}).values())
    session.execute(delete(RuntimeRow).where(RuntimeRow.name.startswith(BROKEN), RuntimeRow.origin.in_(seen)))
    for name in sorted(
        specs
    ):  # one order for all workers: two that start together must not lock each other out
        values = {
            "spec": dict(specs[name]),
            "origin": (origins or {}).get(name, "built-in"),
            "seen_at": func.now(),
        }
        statement = insert(RuntimeRow).values(name=name, **values)
        session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
