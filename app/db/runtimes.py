"""Queries about runtimes: what the fleet's workers said at their last start that they can run."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.tables import RuntimeRow

# Before the name of a file that cannot be imported: no runtime's name has a colon.
BROKEN = "broken:"


def all_specs(session: Session) -> dict[str, dict[str, Any]]:
    """Every usable runtime's spec (the fields of runtimes.base.RuntimeSpec) by its name."""
    return {name: spec for name, spec, _ in list_all(session) if not name.startswith(BROKEN)}


def list_all(session: Session) -> list[tuple[str, dict[str, Any], str]]:
    """(name, spec, origin) of every runtime and of every broken file, by name."""
    columns = select(RuntimeRow.name, RuntimeRow.spec, RuntimeRow.origin)
    return [(name, spec, origin) for name, spec, origin in session.execute(columns.order_by(RuntimeRow.name))]


def put(
    session: Session, specs: Mapping[str, Mapping[str, Any]], origins: Mapping[str, str] | None = None
) -> None:
    """Writes what a worker can run and what it could not read, by name; a later word replaces an earlier one.

    A broken file that came to work, under whatever name, is no longer listed as broken.
    """
    seen = set((origins or {}).values())
    session.execute(delete(RuntimeRow).where(RuntimeRow.name.startswith(BROKEN), RuntimeRow.origin.in_(seen)))
    for name in sorted(specs):  # one order for all workers: two that start together must not deadlock
        values = {
            "spec": dict(specs[name]),
            "origin": (origins or {}).get(name, "built-in"),
            "seen_at": func.now(),
        }
        statement = insert(RuntimeRow).values(name=name, **values)
        session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
