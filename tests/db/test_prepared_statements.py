"""What every prediction runs keeps its plan: by the key however small the table was, and no answer is lost by
it."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from prediction_rows import row
from sqlalchemy import text

from app.db import autocommit as autocommit_sql
from app.db import claims
from app.db import predictions as table
from app.db.session import Database, connect

KEPT = text(
    "SELECT generic_plans AS generic, custom_plans AS custom FROM pg_prepared_statements WHERE name LIKE"
    " 'lovage_%'"
)
NOBODY = "0" * 26
CLAIM = {"worker": uuid4(), "capacity": "{}"}
BY_KEY = (
    (table.GET.for_one, {"id": NOBODY}),
    (table.FINISH.for_one, {"id": NOBODY, "rows": "[]"}),
    (claims.BY_ID, {"id": NOBODY, **CLAIM}),
    (claims.BY_IDS, {"ids": [NOBODY, "1" * 26], **CLAIM}),
)


@pytest.fixture(params=[False, True], ids=["waits", "fails fast"])
def one(database: Database, settings: Any, request: pytest.FixtureRequest) -> Iterator[Database]:
    """One connection, and no predictions."""
    made = Database(connect(settings.database_url, pool=1), fail_fast=request.param)
    with made.unit() as session:  # what it finds out meanwhile would be another plan's reason
        session.execute(text("ALTER TABLE predictions SET (autovacuum_enabled = off)"))
    yield made
    with made.unit() as session:
        session.execute(text("ALTER TABLE predictions RESET (autovacuum_enabled)"))
    made.close()


def kept(one: Database) -> list[tuple[int, int]]:
    with one.unit() as session:
        return [(row.generic, row.custom) for row in session.execute(KEPT)]


def test_a_plan_is_made_once_and_leaves_the_session_as_it_was(one: Database) -> None:
    for _ in range(7):
        with one.autocommit() as statement:
            assert table.get(statement, [NOBODY]) == {}
    assert kept(one) == [(7, 0)]
    with one.unit() as session:
        for setting, usual in (
            ("enable_seqscan", "on"),
            ("enable_bitmapscan", "on"),
            ("enable_sort", "on"),
            ("plan_cache_mode", "auto"),
        ):
            assert session.execute(text(f"SHOW {setting}")).scalar_one() == usual


def test_several_have_a_plan_made_for_them(one: Database) -> None:
    with one.autocommit() as statement:
        assert table.get(statement, [NOBODY, "1" * 26]) == {}
    assert kept(one) == []


@pytest.mark.parametrize(
    ("rows", "indexes"),
    [(2, {"pkey", "by_user", "by_user_and_model"}), (200, {"pkey"})],
    ids=["a few", "some"],
)
@pytest.mark.parametrize("analysed", [False, True])
def test_a_plan_made_for_few_rows_will_do_for_millions(
    one: Database, rows: int, indexes: set[str], analysed: bool
) -> None:
    """By the index of the key: not through the table, nor through what waits, runs, or belongs to somebody.
    For a handful of rows of one user his own is as good (Postgres 18 skips from user to user in it)."""
    with one.unit() as session:
        assert len(table.insert(session, [row() for _ in range(rows)])) == rows
    with one.autocommit() as single, single._connection.cursor() as cursor:
        if analysed:
            cursor.execute("ANALYZE predictions")
        for statement, params in BY_KEY:
            single.execute_prepared(statement, params)
            cursor.execute(
                autocommit_sql.prepared(statement).run.replace("EXECUTE", "EXPLAIN EXECUTE"), params
            )
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Index Cond: ((id)::text = " in plan
            scans = re.findall(r"using predictions_(\w+)|((?:Seq Scan|Bitmap Heap Scan) on \w+)", plan)
            assert scans, plan
            for index, other in scans:
                assert index in indexes, plan
                assert not other, plan


def test_every_kept_statement_takes_what_it_is_given(one: Database) -> None:
    for ids in ([], [NOBODY], [NOBODY, "1" * 26]):
        with one.autocommit() as statement:
            assert table.get(statement, ids) == {}
            assert claims.by_ids(statement, ids, uuid4(), {}) == []
            assert table.insert(statement, []) == []
            assert table.finish(statement, [{"id": one_id} for one_id in ids]) == []


def test_a_connection_that_forgot_them_goes_on_without(one: Database) -> None:
    with one.autocommit() as statement:
        table.get(statement, [NOBODY])
    with one.unit() as session:
        session.execute(text("DEALLOCATE ALL"))
    for _ in range(2):
        with one.autocommit() as statement:
            assert table.get(statement, [NOBODY]) == {}
    assert kept(one) == []


def test_one_that_somebody_else_prepared_on_the_connection_is_used(one: Database) -> None:
    """A pooler gives one connection to many."""
    with one.autocommit() as statement:
        table.get(statement, [NOBODY])
    with one.autocommit() as statement:
        statement._on_connection.clear()
        assert table.get(statement, [NOBODY]) == {}
    assert kept(one) == [(2, 0)]


def test_after_a_statement_that_failed_the_next_is_answered(one: Database) -> None:
    with one.autocommit() as statement:
        table.get(statement, [NOBODY])
        with pytest.raises(psycopg2.DataError):
            claims.by_ids(statement, [NOBODY], "no uuid", {})  # type: ignore[arg-type]
        assert table.get(statement, [NOBODY]) == {}
    with one.autocommit() as statement:
        assert table.get(statement, [NOBODY]) == {}


def test_a_new_connection_prepares_anew(one: Database) -> None:
    with one.autocommit() as statement:
        table.get(statement, [NOBODY])
    one.engine.dispose()
    with one.autocommit() as statement:
        assert table.get(statement, [NOBODY]) == {}
    assert kept(one) == [(1, 0)]
