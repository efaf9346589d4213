"""Pages of anything that is listed by time: keyset queries and opaque cursors. Knows no table.

A cursor names the row beside which a page begins and the direction, so that pages stay right while rows are
added.
"""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.domain.errors import wrong_field
from app.domain.pages import Page

LARGEST = 100


@dataclass(frozen=True, slots=True)
class Cursor:
    """`backwards`: the page holds the rows before the named one in the list's order."""

    created_at: datetime
    id: Any
    backwards: bool = False

    def __str__(self) -> str:
        fields = [self.created_at.isoformat(), str(self.id), int(self.backwards)]
        return base64.urlsafe_b64encode(orjson.dumps(fields)).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str, kind: type[Any]) -> "Cursor":
        """Reads what `str` wrote of a row whose id is a `kind`. Raises InvalidRequest for anything else."""
        try:
            created, ident, backwards = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            if not isinstance(ident, str) or "\x00" in ident:
                raise ValueError(ident)
            return cls(_in_utc(created), kind(ident), bool(backwards))
        except (ValueError, TypeError, OverflowError) as error:
            raise wrong_field("cursor", "is not a cursor of this list", "format") from error


def _in_utc(text: str) -> datetime:
    """Postgres knows fewer zones than Python, so it sees none."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a cursor's time has a zone")
    return moment.astimezone(UTC)


def page(
    session: Session,
    statement: Select[Any],
    created_at: InstrumentedAttribute[datetime],
    ident: InstrumentedAttribute[Any],
    *,
    cursor: str | None,
    limit: int,
    oldest_first: bool = False,
) -> Page[Any]:
    """One page of the statement's rows (entities), newest first unless said otherwise, ties by id. At most
    LARGEST rows."""
    limit = max(1, min(limit, LARGEST))
    start = Cursor.parse(cursor, ident.type.python_type) if cursor else None
    is_ascending = oldest_first != bool(start and start.backwards)
    statement = _beside(statement, created_at, ident, start, is_ascending).limit(limit + 1)
    rows = list(session.scalars(statement))
    more = len(rows) > limit
    rows = rows[:limit]
    if start is None or not start.backwards:
        return _paged(rows, created_at.key, ident.key, before=start is not None, behind=more)
    return _paged(rows[::-1], created_at.key, ident.key, before=more, behind=True)


def _beside(
    statement: Select[Any], created_at: Any, ident: Any, start: Cursor | None, is_ascending: bool
) -> Select[Any]:
    here = tuple_(created_at, ident)
    if start is not None:
        there = (start.created_at, start.id)
        statement = statement.where(here > there if is_ascending else here < there)
    if is_ascending:
        return statement.order_by(created_at, ident)
    return statement.order_by(created_at.desc(), ident.desc())


def _paged(rows: list[Any], created_at: str, ident: str, *, before: bool, behind: bool) -> Page[Any]:
    def cursor_of(row: Any, backwards: bool) -> str:
        return str(Cursor(getattr(row, created_at), getattr(row, ident), backwards))

    following = cursor_of(rows[-1], False) if rows and behind else None
    preceding = cursor_of(rows[0], True) if rows and before else None
    return Page(rows, following, preceding)
