"""One statement straight through the driver, for the few that every prediction runs.

SQLAlchemy's session costs several times what Postgres takes to find a row by its key (0.7 ms against 0.1
measured here, two round trips of them to switch autocommit on and off), and planning such a statement as much
again as running it: 0.48 ms to end a prediction, 0.24 with a plan that the connection keeps. Knows psycopg2;
knows no table, no pool and no error that callers see.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import psycopg2.errors
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql import psycopg2 as driver

from app.db.planner import BY_INDEX

DIALECT = driver.dialect()  # type: ignore[no-untyped-call]
# A pooler between us and Postgres gives each transaction any server connection, which need not have received
# our statements; a migration may change what one gives.
UNUSABLE_PLAN = (psycopg2.errors.InvalidSqlStatementName, psycopg2.errors.FeatureNotSupported)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the driver sends once to `prepare` a statement on a connection, and then to `run` it."""

    prepare: str
    run: str


@lru_cache(maxsize=64)
def compile_sql(statement: TextClause) -> str:
    """As the driver wants it: `%(name)s` for `:name`. Our statements are constants of their modules."""
    return str(statement.compile(dialect=DIALECT))


@lru_cache(maxsize=64)
def prepared(statement: TextClause) -> Prepared:
    """Named by its text, so that a name means the same whoever prepared it."""
    sql, params = compile_sql(statement), list(statement.compile(dialect=DIALECT).params)
    name = f"lovage_{hashlib.sha256(sql.encode()).hexdigest()[:16]}"
    numbered = sql % {param: f"${number}" for number, param in enumerate(params, 1)}
    values = ", ".join(f"%({param})s" for param in params)
    return Prepared(f"PREPARE {name} AS {numbered}", f"{BY_INDEX}EXECUTE {name} ({values})")


class Rows(list[dict[str, Any]]):
    """What a statement returned, read as one reads SQLAlchemy's result."""

    def mappings(self) -> "Rows":
        return self


class Autocommit:
    """Looks like a session to who executes text. Each statement is committed by itself; used within
    `Database.autocommit`.

    `on_connection`: the statements that this connection has prepared; None in it: no more of that, a pooler
    in between forgets them.
    """

    def __init__(self, connection: Any, on_connection: set[Prepared | None]) -> None:
        self._connection, self._on_connection = connection, on_connection

    def execute(self, statement: TextClause, params: Mapping[str, Any]) -> Rows:
        """Raises psycopg2.Error."""
        with self._connection.cursor() as cursor:
            cursor.execute(compile_sql(statement), params)
            return self._rows(cursor)

    def execute_prepared(self, statement: TextClause, params: Mapping[str, Any]) -> Rows:
        """Like `execute`, with a plan that the connection keeps: for a statement with parameters whose one
        right plan goes by the only index that serves it, however large the table (`app/db/planner.py`)."""
        form = prepared(statement)
        if None in self._on_connection:
            return self.execute(statement, params)
        with self._connection.cursor() as cursor:
            try:
                if form not in self._on_connection:
                    with suppress(psycopg2.errors.DuplicatePreparedStatement):
                        cursor.execute(form.prepare)
                    self._on_connection.add(form)
                cursor.execute(form.run, params)
                return self._rows(cursor)
            except UNUSABLE_PLAN:
                self._on_connection.add(None)
        return self.execute(statement, params)

    @staticmethod
    def _rows(cursor: Any) -> Rows:
        names = [column.name for column in cursor.description or ()]
        return Rows(dict(zip(names, row, strict=True)) for row in (cursor.fetchall() if names else ()))
