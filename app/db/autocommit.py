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

DIALECT = driver.dialect()  # type: ignore[no-untyped-call]
# A pooler between us and Postgres gives each transaction any server connection, which need not have heard of
# our statements; a migration may change what one gives.
UNUSABLE_PLAN = (psycopg2.errors.InvalidSqlStatementName, psycopg2.errors.FeatureNotSupported)
# For the planner, which makes a kept plan at its first use and anew whenever the table was analysed: without
# a look at the parameters, and by an index, as a plan made while a table was nearly empty is used when it has
# grown.
BY_INDEX = (
    "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; SET LOCAL"
    " enable_bitmapscan = off; "
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the driver sends once to `prepare` a statement on a connection, and then to `run` it."""

    prepare: str
    run: str


@lru_cache(maxsize=64)
def sql_of(statement: TextClause) -> str:
    """As the driver wants it: `%(name)s` for `:name`. Our statements are constants of their modules."""
    return str(statement.compile(dialect=DIALECT))


@lru_cache(maxsize=64)
def prepared(statement: TextClause) -> Prepared:
    """Named by its text, so that a name means the same whoever prepared it."""
    sql, names = sql_of(statement), list(statement.compile(dialect=DIALECT).params)
    name = f"lovage_{hashlib.sha256(sql.encode()).hexdigest()[:16]}"
    numbered = sql % {one: f"${number}" for number, one in enumerate(names, 1)}
    given = ", ".join(f"%({one})s" for one in names)
    return Prepared(f"PREPARE {name} AS {numbered}", f"{BY_INDEX}EXECUTE {name} ({given})")


class Rows(list[dict[str, Any]]):
    """What a statement returned, read as one reads SQLAlchemy's result."""

    def mappings(self) -> "Rows":
        return self


class Autocommit:
    """Looks like a session to who executes text. Each statement is committed by itself; used within
    `Database.autocommit`.

    `known`: the statements that this connection has prepared; None in it: no more of that, somebody in
    between forgets them.
    """

    def __init__(self, connection: Any, known: set[Prepared | None]) -> None:
        self._connection, self._known = connection, known

    def execute(self, statement: TextClause, params: Mapping[str, Any]) -> Rows:
        """Raises psycopg2.Error."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql_of(statement), params)
            return self._rows(cursor)

    def execute_prepared(self, statement: TextClause, params: Mapping[str, Any]) -> Rows:
        """Like `execute`, with a plan that the connection keeps: for a statement with parameters whose one
        right plan goes by the only index that serves it, however large the table."""
        one = prepared(statement)
        if None in self._known:
            return self.execute(statement, params)
        with self._connection.cursor() as cursor:
            try:
                if one not in self._known:
                    with suppress(psycopg2.errors.DuplicatePreparedStatement):
                        cursor.execute(one.prepare)
                    self._known.add(one)
                cursor.execute(one.run, params)
                return self._rows(cursor)
            except UNUSABLE_PLAN:
                self._known.add(None)
        return self.execute(statement, params)

    @staticmethod
    def _rows(cursor: Any) -> Rows:
        names = [column.name for column in cursor.description or ()]
        return Rows(dict(zip(names, row, strict=True)) for row in (cursor.fetchall() if names else ()))
