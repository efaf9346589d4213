"""What is true of the whole installation, by name: written once or seldom, read at the start of a process."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.tables import PlatformFactRow

PAUSED_QUEUES = "paused_queues"  # {queue: {"since": …, "by": username}}: nothing is claimed out of these


def get(session: Session, name: str) -> dict[str, Any] | None:
    """The fact; None while nobody has written it."""
    value: dict[str, Any] | None = session.scalar(
        select(PlatformFactRow.value).where(PlatformFactRow.name == name)
    )
    return value


def add(session: Session, name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the fact unless there is one; the one that holds."""
    session.execute(insert(PlatformFactRow).values(name=name, value=dict(value)).on_conflict_do_nothing())
    fact = get(session, name)
    assert fact is not None
    return fact


def put(session: Session, name: str, value: Mapping[str, Any]) -> None:
    """Writes the fact, whatever it was."""
    values = insert(PlatformFactRow).values(name=name, value=dict(value))
    session.execute(
        values.on_conflict_do_update(index_elements=["name"], set_={"value": values.excluded.value})
    )


def merge(session: Session, name: str, more: Mapping[str, Any]) -> None:
    """Adds to the fact; other parts of it stay as they are."""
    values = insert(PlatformFactRow).values(name=name, value=dict(more))
    merged = PlatformFactRow.value.concat(values.excluded.value)
    session.execute(values.on_conflict_do_update(index_elements=["name"], set_={"value": merged}))


def remove_part(session: Session, name: str, part: str) -> None:
    """Takes one part out of the fact."""
    rest = PlatformFactRow.value.op("-")(part)
    session.execute(update(PlatformFactRow).where(PlatformFactRow.name == name).values(value=rest))
