"""Migrations go up, down and up again, with data in the tables, and match the code's tables."""

import pytest
from databases import make_database
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from alembic import command
from app.db import migrate
from app.db.session import Database, connect


def test_up_down_and_up_again_on_data(servers) -> None:
    url = make_database(servers.database_url)
    migrate.upgrade(url)
    database = Database(connect(url, pool=1))
    user = (
        "INSERT INTO users (id, email, username, password_hash, webhook_secret) VALUES (gen_random_uuid(),"
        " 'a', 'a', 'x', 'y')"
    )
    prediction = (
        "INSERT INTO predictions (id, version_id, model, queue, input) VALUES ('x', 'v', 'a/b', 'cpu', '{}')"
    )
    with database.unit() as session:
        session.execute(text(user))
        session.execute(text(prediction))
    database.close()
    migrate.downgrade(url, "base")
    migrate.upgrade(url)
    migrate.upgrade(url)  # again: nothing to do
    command.check(migrate.config(url))  # raises when the tables of the code differ


def test_a_migration_that_would_make_everybody_wait_gives_up_and_goes_on_later(
    servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0018 adds a column to a table that somebody reads in a long transaction."""
    url = make_database(servers.database_url)
    migrate.upgrade(url, "0017")
    monkeypatch.setattr(migrate, "LOCK_MS", 50)
    database = Database(connect(url, pool=1))
    with database.unit() as session:
        session.execute(text("SELECT FROM predictions"))
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate.upgrade(url)
    database.close()
    migrate.upgrade(url)
    command.check(migrate.config(url))
