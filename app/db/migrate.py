"""Brings a database to the newest schema with Alembic. Safe to run from several processes at once."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from alembic.config import Config
from sqlalchemy import Connection, text

from alembic import command
from app.shipped import locate_shipped

LOCK = 7_205_601  # any number that nothing else in this database locks
RETRY_SECONDS = 0.2
# A change of a table that waits for somebody's long transaction makes all others wait behind it: it gives up.
LOCK_MS = 10_000


def config(url: str) -> Config:
    """Alembic's configuration for `url`, whatever the working directory."""
    alembic = Config(str(locate_shipped("alembic.ini")))
    alembic.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return alembic


def upgrade(url: str, revision: str = "head") -> None:
    """Migrates up to `revision`."""
    command.upgrade(config(url), revision)


def downgrade(url: str, revision: str) -> None:
    """Migrates down to `revision` (`base`: to nothing)."""
    command.downgrade(config(url), revision)


def limit_lock_waits(connection: Connection) -> None:
    """Of every migration. One that builds an index beside the work waits for transactions that are older, and
    lifts the limit meanwhile."""
    connection.execute(text(f"SET lock_timeout = {LOCK_MS}"))
    connection.commit()


@contextmanager
def wait_for_lock(connection: Connection) -> Iterator[None]:
    """Lets one migration run at a time: two processes that start together do not create a table twice. It is
    asked for again and again: who waits inside a statement holds up an index that is built concurrently."""
    while not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK}).scalar_one():
        connection.rollback()
        time.sleep(RETRY_SECONDS)
    connection.commit()  # the lock is the session's; each migration has a transaction of its own
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
        connection.commit()
