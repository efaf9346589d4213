"""Statements that every prediction runs keep their plans: by keys however small the table was, and no answer is lost by it."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.db import claims
from app.db import predictions as table
from app.db import single as single_sql
from app.db.session import Database, connect

KEPT = text(
    "SELECT name, generic_plans AS generic, custom_plans AS custom FROM pg_prepared_statements WHERE statement LIKE :like"
)
GETS = {"like": "%SELECT id, user_id% FROM predictions WHERE id = ANY%"}


@pytest.fixture
def one(settings: Any) -> Iterator[Database]:
    """One connection."""
    made = Database(connect(settings.database_url, pool=1))
    yield made
    made.close()


def kept(one: Database) -> list[Any]:
    with one.unit() as session:
        return list(session.execute(KEPT, GETS))


def test_a_plan_is_made_once_and_goes_by_the_key(one: Database) -> None:
    for _ in range(7):
        with one.single() as statement:
            assert table.get(statement, ["0" * 26]) == {}
    [found] = kept(one)
    assert (found.generic, found.custom) == (8, 0)  # EXPLAIN counts
    with one.unit() as session:
        plan = str(session.execute(text(f"EXPLAIN EXECUTE {found.name} (ARRAY['x'])")).all())
        assert "predictions_pkey" in plan
        assert session.execute(text("SHOW enable_seqscan")).scalar_one() == "on"


@pytest.mark.parametrize(
    ("statement", "given"),
    [
        (table.GET, {"ids": ["x"]}),
        (table.FINISH, {"rows": "[]", "ids": ["x"]}),
        (claims.CLAIM, {"ids": ["x"], "worker": uuid4(), "telling": False}),
    ],
)
def test_a_plan_made_for_few_rows_will_do_for_millions(one: Database, statement: Any, given: dict[str, Any]) -> None:
    """The index of the key, by its condition; not the ones of all that wait or run."""
    with one.single() as single:
        single.execute(statement, given)
        with single._connection.cursor() as cursor:
            cursor.execute("EXPLAIN " + single_sql.kept(statement).run, given)
            plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Index Cond: ((id)::text = ANY" in plan
    assert set(re.findall(r"(?:using|on) (predictions_\w+)", plan)) == {"predictions_pkey"}


def test_every_such_statement_takes_what_it_is_given(one: Database) -> None:
    for ids in ([], ["0" * 26]):
        with one.single() as statement:
            assert table.get(statement, ids) == {}
            assert claims.claim(statement, ids, uuid4(), telling=False) == []
            assert table.insert(statement, []) == []
            assert table.finish(statement, []) == []


def test_a_connection_that_forgot_them_goes_on_without(one: Database) -> None:
    with one.single() as statement:
        table.get(statement, [])
    with one.unit() as session:
        session.execute(text("DEALLOCATE ALL"))
    for _ in range(2):
        with one.single() as statement:
            assert table.get(statement, ["0" * 26]) == {}
    assert kept(one) == []


def test_one_name_for_two_server_connections_does_no_harm(one: Database) -> None:
    with one.single() as statement:
        table.get(statement, [])
    with one.single() as statement:
        statement._known.clear()
        assert table.get(statement, ["0" * 26]) == {}
    assert len(kept(one)) == 1
