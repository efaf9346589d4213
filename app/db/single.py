"""One statement straight through the driver, for the few that every prediction runs.

SQLAlchemy's session costs several times what Postgres takes to find a row by its key (0.7 ms against 0.1 measured here, two round
trips of them to switch autocommit on and off). Knows psycopg2; knows no table, no pool and no error that callers see.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql import psycopg2

DIALECT = psycopg2.dialect()  # type: ignore[no-untyped-call]


@lru_cache(maxsize=64)
def sql_of(statement: TextClause) -> str:
    """As the driver wants it: `%(name)s` for `:name`. Our statements are constants of their modules."""
    return str(statement.compile(dialect=DIALECT))


class Rows(list[dict[str, Any]]):
    """What a statement returned, read as one reads SQLAlchemy's result."""

    def mappings(self) -> "Rows":
        return self


class Single:
    """Looks like a session to who executes text. Each statement is committed by itself; used within `Database.single`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, statement: TextClause, params: Mapping[str, Any]) -> Rows:
        """Raises psycopg2.Error."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql_of(statement), params)
            names = [column.name for column in cursor.description or ()]
            return Rows(dict(zip(names, row, strict=True)) for row in (cursor.fetchall() if names else ()))
