"""A Postgres that is shutting down is left by its clients, or it could never be started again."""

from typing import Any

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.db.session import Database, connect
from app.domain.errors import Unavailable

SHUTTING_DOWN = psycopg2.OperationalError("FATAL:  the database system is shutting down")


def refused() -> None:
    raise OperationalError("connect", {}, SHUTTING_DOWN)


def test_connections_in_use_when_postgres_refuses_newcomers_are_closed_afterwards(database: Database, settings: Any) -> None:
    leaving = Database(connect(settings.database_url, pool=4, application="leaving"))

    def clients() -> int:
        with database.unit() as session:
            counted = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'leaving'")
            return int(session.execute(counted).scalar_one())

    with leaving.unit() as busy:
        busy.execute(text("SELECT 1"))
        with leaving.unit() as idle:
            idle.execute(text("SELECT 1"))
        assert clients() == 2
        with pytest.raises(Unavailable), leaving.unit():
            refused()
        assert clients() == 1
    assert clients() == 0
    with leaving.unit() as again:
        assert again.execute(text("SELECT 1")).scalar_one() == 1
    assert clients() == 1
    leaving.close()
