"""Brings a database to the newest schema with Alembic. Safe to run from several processes at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic.config import Config
from sqlalchemy import Connection, text

from alembic import command
from app.shipped import locate_shipped

LOCK = 7_205_601  # any number that nothing else in this database locks


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


@contextmanager
def wait_for_lock(connection: Connection) -> Iterator[None]:
    """Lets one migration run at a time: two processes that start together do not create a table twice."""
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
        connection.commit()
