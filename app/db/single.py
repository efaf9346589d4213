"""One statement straight through the driver, for the few that every prediction runs.

SQLAlchemy's session costs several times what Postgres takes to find a row by its key (0.7 ms against 0.1 measured here, two round
trips of them to switch autocommit on and off), and planning such a statement as much again as running it: 0.48 ms to end a
prediction, 0.24 with a plan that the connection keeps. Knows psycopg2; knows no table, no pool and no error that callers see.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import psycopg2.errors
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql import psycopg2 as driver

DIALECT = driver.dialect()  # type: ignore[no-untyped-call]
# A pooler between us and Postgres gives each transaction any server connection, which need not have heard of our statements; a
# migration may change what one gives.
FORGOTTEN = (
    psycopg2.errors.InvalidSqlStatementName,
    psycopg2.errors.DuplicatePreparedStatement,
    psycopg2.errors.FeatureNotSupported,
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A statement as the driver wants it, `%(name)s` for `:name`: `plain`, once to `keep` its plan, then to `run` it.

    The plan is kept without a look at the parameters. It is made as if reading whole tables were forbidden: our statements go by
    keys, and a plan made while a table was empty must do when it has grown.
    """

    plain: str
    keep: str
    run: str


@lru_cache(maxsize=64)
def kept(statement: TextClause) -> Kept:
    """Our statements are constants of their modules."""
    compiled = statement.compile(dialect=DIALECT)
    names, plain = list(compiled.params), str(compiled)
    numbered = plain % {name: f"${number}" for number, name in enumerate(names, 1)}
    name = f"lovage_{abs(hash(plain)):x}"
    given = ", ".join(f"%({one})s" for one in names)
    run = f"EXECUTE {name} ({given})" if names else f"EXECUTE {name}"
    prepare = f"PREPARE {name} AS {numbered.replace('%', '%%')}"
    keep = (
        "SET plan_cache_mode = force_generic_plan",
        "SET enable_seqscan = off",
        prepare,
        f"EXPLAIN {run}",
        "RESET enable_seqscan",
    )
    return Kept(plain, "; ".join(keep), run)


class Rows(list[dict[str, Any]]):
    """What a statement returned, read as one reads SQLAlchemy's result."""

    def mappings(self) -> "Rows":
        return self


class Single:
    """Looks like a session to who executes text. Each statement is committed by itself; used within `Database.single`. `known`
    are the statements whose plans this connection keeps; None in it: none, as somebody in between forgets them."""

    def __init__(self, connection: Any, known: set[str | None]) -> None:
        self._connection, self._known = connection, known

    def execute(self, statement: TextClause, params: Mapping[str, Any]) -> Rows:
        """Raises psycopg2.Error."""
        with self._connection.cursor() as cursor:
            self._run(cursor, kept(statement), params)
            names = [column.name for column in cursor.description or ()]
            return Rows(dict(zip(names, row, strict=True)) for row in (cursor.fetchall() if names else ()))

    def _run(self, cursor: Any, one: Kept, params: Mapping[str, Any]) -> None:
        if None not in self._known:
            try:
                if one.run not in self._known:
                    cursor.execute(one.keep, params)
                    self._known.add(one.run)
                cursor.execute(one.run, params)
                return
            except FORGOTTEN:
                self._known.add(None)
        cursor.execute(one.plain, params)
