"""An error means what it says: Postgres is away, or it is there and has refused this one statement."""

import threading
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
from prediction_rows import row
from sqlalchemy import text

from app.composition_core import Core
from app.db import predictions as table
from app.db.refusals import reason_of
from app.db.session import Database, connect
from app.domain.errors import DatabaseRefused, Unavailable

CANCELED = "57014"
STATES = {
    CANCELED: True,  # it took longer than it may
    "53100": True,  # the disk is full
    "53200": True,  # out of memory
    "40P01": True,  # a deadlock
    "54000": False,  # it is too large
}
SECRET = "what the caller said"
RAISE = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{}', MESSAGE = 'no', DETAIL = 'row ({})'; END $$"


@pytest.mark.parametrize("state", STATES)
def test_a_refused_statement_is_no_database_that_is_away(database: Database, state: str) -> None:
    statement = text(RAISE.format(state, SECRET))
    with pytest.raises(DatabaseRefused) as by_unit, database.unit() as session:
        session.execute(statement)
    with pytest.raises(DatabaseRefused) as by_autocommit, database.autocommit() as session:
        session.execute(statement, {})
    for caught in (by_unit, by_autocommit):
        assert caught.value.may_pass is STATES[state]
        assert caught.value.code == "database_refused"
        assert SECRET not in str(caught.value)


def test_a_statement_that_took_too_long_is_refused_and_the_next_one_is_answered(settings: Any) -> None:
    hurried = Database(
        connect(settings.database_url, pool=1, application="hurried", statement_ms=50), fail_fast=True
    )
    with pytest.raises(DatabaseRefused, match="longer than a statement may take"), hurried.unit() as session:
        session.execute(text("SELECT pg_sleep(5)"))
    assert hurried.answers()
    hurried.close()


def test_a_connection_that_ended_is_a_database_that_is_away(database: Database, settings: Any) -> None:
    ended = Database(connect(settings.database_url, pool=1, application="ended"))

    def end_and_go_on() -> None:
        with ended.unit() as session, database.unit() as other:
            pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            session.execute(text("SELECT 1"))

    with pytest.raises(Unavailable) as caught:
        end_and_go_on()
    assert not isinstance(caught.value, DatabaseRefused)
    ended.close()


def test_no_log_and_no_traceback_repeats_what_a_statement_was_given(database: Database) -> None:
    with pytest.raises(Exception) as caught, database.unit() as session:  # noqa: PT011 - its text is looked at
        session.execute(text("SELECT CAST(:value AS integer)"), {"value": SECRET})
    assert "[parameters:" not in str(caught.value)
    with pytest.raises(psycopg2.Error) as raw, database.autocommit() as session:
        session.execute(text(RAISE.format("22000", SECRET)), {})
    assert reason_of(raw.value) == "DataException 22000: no"


def test_equal_keys_in_opposite_order_deadlock_no_two_groups(core: Core) -> None:
    """A key waits for whoever is about to write the same. Two connections insert the same 60 keys, forwards
    and backwards: by arrival, one of the two would be ended by Postgres in nearly every round."""
    user: UUID = uuid4()
    errors: list[Exception] = []

    def insert(keys: list[str], meet: threading.Barrier) -> None:
        rows = [row(user_id=user, idempotency_key=key, request_hash="00") for key in keys]
        meet.wait()
        try:
            with core.database.autocommit() as statement:
                table.insert(statement, rows)
        except Exception as error:  # noqa: BLE001 - whatever it is fails the test
            errors.append(error)

    for number in range(20):
        keys, meet = [f"{number}-{n:02}" for n in range(60)], threading.Barrier(2)
        threads = [threading.Thread(target=insert, args=(order, meet)) for order in (keys, keys[::-1])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    with core.database.unit() as session:
        count = text("SELECT count(*) FROM predictions WHERE user_id = :user")
        assert session.execute(count, {"user": user}).scalar_one() == 20 * 60


@pytest.mark.parametrize("move", ["progress", "finish", "requeue"])
def test_groups_of_updates_lock_their_rows_in_one_order(move: str) -> None:
    given: list[str] = []

    class Recording:
        def execute(self, statement: object, params: dict[str, str]) -> Any:
            given.append(params["rows"])
            return self

        def mappings(self) -> list[object]:
            return []

    for ids in (["b", "a", "c"], ["c", "b", "a"]):
        getattr(table, move)(Recording(), [{"id": one, "attempt": 1} for one in ids])
    assert given[0] == given[1]
