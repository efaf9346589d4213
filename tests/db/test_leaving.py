"""A Postgres that is shutting down is left by its clients, or it could never be started again."""

from typing import Any

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from waiting import eventually

from app.db.session import Database, connect
from app.domain.errors import Unavailable

SHUTTING_DOWN = psycopg2.OperationalError("FATAL:  the database system is shutting down")


def refused() -> None:
    raise OperationalError("connect", {}, SHUTTING_DOWN)


def test_connections_in_use_when_postgres_refuses_newcomers_are_closed_afterwards(
    database: Database, settings: Any
) -> None:
    leaving = Database(connect(settings.database_url, pool=4, application="leaving"))

    def clients() -> int:
        with database.unit() as session:
            counted = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'leaving'")
            return int(session.execute(counted).scalar_one())

    def has_clients(number: int) -> None:
        eventually(lambda: clients() == number)  # Postgres notices that one has gone when it next looks

    with leaving.unit() as busy:
        busy.execute(text("SELECT 1"))
        with leaving.unit() as idle:
            idle.execute(text("SELECT 1"))
        has_clients(2)
        with pytest.raises(Unavailable), leaving.unit():
            refused()
        has_clients(1)
    has_clients(0)
    with leaving.unit() as again:
        assert again.execute(text("SELECT 1")).scalar_one() == 1
    has_clients(1)
    leaving.close()


def test_a_connection_that_broke_is_not_used_again(database: Database, settings: Any) -> None:
    broken = Database(connect(settings.database_url, pool=2, application="broken"))
    find = text("SELECT pg_backend_pid() AS pid, :more AS more")
    with broken.autocommit() as statement:
        [first] = statement.execute(find, {"more": "50 %"})
    assert first["more"] == "50 %"
    with database.unit() as session:
        session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": first["pid"]})
    with pytest.raises(Unavailable), broken.autocommit() as statement:
        statement.execute(find, {"more": ""})
    with broken.autocommit() as statement:
        [second] = statement.execute(find, {"more": ""})
    assert second["pid"] != first["pid"]
    broken.close()


def test_a_statement_that_fails_leaves_its_connection_usable(settings: Any) -> None:
    one = Database(connect(settings.database_url, pool=1, application="one"))
    pid = text("SELECT pg_backend_pid() AS pid")
    with one.autocommit() as statement:
        before = statement.execute(pid, {})
    with pytest.raises(psycopg2.errors.DivisionByZero), one.autocommit() as statement:
        statement.execute(text("SELECT 1 / 0"), {})
    with one.unit() as session:
        assert [dict(row) for row in session.execute(pid).mappings()] == before
    one.close()
