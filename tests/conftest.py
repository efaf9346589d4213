"""Real servers for every test that wants them, started once; tables are emptied before each test."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.composition_core import Core, open_core
from app.db.migrate import upgrade
from app.db.session import Database, connect
from app.db.tables import Base
from app.local import postgres
from app.local.embedded import EmbeddedServers, Urls
from app.services.people import passwords
from app.settings import Settings

pytest_plugins = ["side_by_side"]

# No test looks at what a power cut would cost; emptying the tables before each waits for the disk otherwise.
UNSAFE = ("fsync", "full_page_writes", "synchronous_commit")
os.environ["LOVAGE_ENV_FILE"] = "off"  # whatever .env lies where the tests are run

TABLES = [table.name for table in reversed(Base.metadata.sorted_tables)]
# 2 ms for a few rows, where TRUNCATE takes 130: it makes new files for every table and index.
DELETE_ALL = "; ".join(f"DELETE FROM {name}" for name in TABLES)

SECRET = "a-secret-of-the-tests-" + "x" * 20


@pytest.fixture(scope="session")
def servers() -> Iterator[Urls]:
    """URLs of an embedded Postgres (migrated) and Valkey."""
    folder = Path(tempfile.mkdtemp(prefix="lovage-tests-"))
    servers = EmbeddedServers(folder)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for option in UNSAFE:
                patch.setitem(postgres.OPTIONS, option, "off")
            urls = servers.start()
        upgrade(urls.database_url)
        yield urls
    finally:
        servers.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def plain_tracebacks() -> None:
    """As in every process of Lovage. structlog's own default prints the locals of each frame, for which an
    event loop may stand still for seconds."""
    *before, _ = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*before, renderer])


@pytest.fixture(autouse=True)
def no_log_of_an_earlier_test() -> Iterator[None]:
    """A command that a test calls in this process may set up the process' log, to a stream that is closed
    when the command has ended: whatever is logged later would fail there."""
    yield
    ours = structlog.stdlib.ProcessorFormatter
    logging.root.handlers[:] = [
        each for each in logging.root.handlers if not isinstance(each.formatter, ours)
    ]


@pytest.fixture(scope="session", autouse=True)
def cheap_password_hashes() -> None:
    """Argon2 as weak as it goes: hundreds of tests make people, and none looks at what a guess would cost."""
    passwords._CONTEXT.update(argon2__memory_cost=64, argon2__time_cost=1)


@pytest.fixture(scope="session")
def pool(servers: Urls) -> Iterator[Database]:
    """One connection pool for the whole run."""
    database = Database(connect(servers.database_url, pool=8, application="tests"))
    yield database
    database.close()


@pytest.fixture
def database(pool: Database) -> Database:
    """The migrated database, with every table empty."""
    try:
        with pool.unit() as session:
            session.execute(text(DELETE_ALL))
    except IntegrityError:  # something of the test before still writes
        with pool.unit() as session:
            session.execute(text(f"TRUNCATE {', '.join(TABLES)} CASCADE"))
    return pool


@pytest.fixture
def settings(servers: Urls, tmp_path: Path) -> Settings:
    """Development settings over the test servers, with a data folder of their own."""
    return Settings(
        lovage_env="development",
        lovage_data_dir=tmp_path,
        database_url=servers.database_url,
        redis_url=servers.redis_url,
        secret_key=SECRET,
        public_url="http://lovage.test",
    )


@pytest.fixture
def core(database: Database, settings: Settings) -> Iterator[Core]:
    """The services that every process has."""
    opened = open_core(settings, application="tests", pool=8)
    yield opened
    opened.close()
