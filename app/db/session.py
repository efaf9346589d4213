"""The connection pool, and the unit of work: the only thing that commits. Knows no tables."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import orjson
import psycopg2
from sqlalchemy import Dialect, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from app.db import refusals
from app.db.autocommit import Autocommit
from app.db.circuit_breaker import CircuitBreaker
from app.domain.errors import AnswerLost, Unavailable

CONNECT_SECONDS = 2  # a caller learns of a dead Postgres within 3 s: 2 to connect, and some to answer
STATEMENT_MS = 5_000  # no statement of ours is meant to take longer; a stuck one must not hold a thread
# Postgres looks this often, while it runs a statement, whether its client is still there: what nobody waits
# for any more is not carried out.
LEFT_MS = 500
POOL_WAIT_SECONDS = 2.5
AWAY = "The database cannot be reached at the moment. Try again shortly."
MAY_BE_DONE = (
    "The database's answer was lost: what was asked for may have been carried out. Look before you repeat it,"
    " or repeat it with its Idempotency-Key."
)
RESTED_SECONDS = 1.0  # a connection that was not used for so long is asked first whether it still lives
RECYCLE_SECONDS = (
    60  # no connection is older when it is handed out, so that every process notices a server that is leaving
)


def dumps(value: Any) -> str:
    """JSON text for a json column."""
    return orjson.dumps(value).decode()


def connect(
    url: str, *, pool: int = 16, application: str = "lovage", statement_ms: int = STATEMENT_MS
) -> Engine:
    """A pool of at most `pool` connections to `url` (postgresql:// is read as postgresql+psycopg2://).

    Connections that have rested are checked before use, so that a restarted Postgres costs no caller an
    error. Those in constant use are not: it would be a fifth of all round trips.
    """
    if url.startswith(("postgres://", "postgresql://")):
        url = "postgresql+psycopg2://" + url.split("://", 1)[1]
    engine = create_engine(
        url,
        pool_size=pool,
        max_overflow=0,
        pool_timeout=POOL_WAIT_SECONDS,
        pool_recycle=RECYCLE_SECONDS,
        json_serializer=dumps,
        json_deserializer=orjson.loads,
        hide_parameters=True,  # callers' inputs, password hashes and secrets would stand in every traceback
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": application,
            "options": f"-c statement_timeout={statement_ms} -c timezone=UTC"
            f" -c client_connection_check_interval={LEFT_MS}",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
    )
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "checkin", _on_checkin)
    event.listen(engine, "checkout", partial(_check_alive, engine.dialect))
    return engine


def _on_connect(connection: Any, record: ConnectionPoolEntry) -> None:
    record.info["made_at"] = time.monotonic()


def _on_checkin(connection: Any, record: ConnectionPoolEntry) -> None:
    record.info["rests_since"] = time.monotonic()


def _check_alive(dialect: Dialect, connection: Any, record: ConnectionPoolEntry, _: Any) -> None:
    now = time.monotonic()
    if now - record.info.get("rests_since", now) > RESTED_SECONDS:
        try:
            dialect.do_ping(connection)
        except psycopg2.Error as error:
            raise InvalidatePoolError from error  # the pool tries a new one


class Database:
    """Hands out units of work. One for each process, shared by its threads.

    `fail_fast`: a Postgres that is there and does not answer is `Unavailable` after
    `circuit_breaker.SECONDS`; without it a unit waits until it answers, which is what a worker with a
    finished result needs.
    """

    def __init__(self, engine: Engine, *, fail_fast: bool = False) -> None:
        self.engine = engine
        self._breaker = CircuitBreaker(self._ask) if fail_fast else None
        self._left_at = float("-inf")
        event.listen(engine, "checkin", self._close_old)

    @contextmanager
    def unit(self) -> Iterator[Session]:
        """One transaction: commits at the end, rolls back on any exception.

        Raises `Unavailable` when Postgres cannot be reached, so that no edge needs to know the driver; its
        `DatabaseRefused` when Postgres is there and did not carry out a statement; AnswerLost when the commit
        was sent and its answer never came.
        """
        is_committing = False
        try:
            with self._answered(), Session(self.engine, expire_on_commit=False) as session, session.begin():
                yield session
                session.flush()
                is_committing = True
        except Unavailable as error:
            if is_committing and refusals.is_answer_lost(error.__cause__):
                raise AnswerLost(MAY_BE_DONE, retry_after=2) from error
            raise

    @contextmanager
    def autocommit(self) -> Iterator[Autocommit]:
        """Statements that Postgres commits by themselves, past SQLAlchemy: for what every prediction runs.
        Raises as `unit`, and AnswerLost when a statement was sent and its answer never came."""
        with self._answered():
            pooled = self.engine.raw_connection()
            try:
                driver: Any = pooled.driver_connection
                driver.autocommit = True
                yield Autocommit(driver, pooled.info.setdefault("prepared", set()))
                driver.autocommit = False
            except BaseException as error:  # the connection's state is looked at, then it is raised on
                self._after_error(pooled, error)
                if isinstance(error, psycopg2.Error) and refusals.is_answer_lost(error):
                    raise AnswerLost(AWAY, retry_after=2) from error
                raise
            finally:
                pooled.close()

    def _after_error(self, pooled: PoolProxiedConnection, error: BaseException) -> None:
        """A connection that broke is not used again, and no other of its age: their Postgres is gone, too."""
        driver: Any = pooled.driver_connection
        is_disconnect: Any = self.engine.dialect.is_disconnect
        if driver.closed or is_disconnect(error, driver, None):
            pooled.invalidate(error)
            self._leave()
        else:
            driver.autocommit = False

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            with self._breaker.unit() if self._breaker else nullcontext():
                yield
        except (DBAPIError, psycopg2.Error, PoolTimeout) as error:
            if refusal := refusals.refusal_of(error):
                if self._breaker:
                    self._breaker.on_answer()
                raise refusal from error
            if not refusals.is_lost(error):
                raise
            if refuses_newcomers(error):
                self._leave()
            raise Unavailable(AWAY, retry_after=2) from error

    def _leave(self) -> None:
        """Postgres waits for its last client before it ends and can be started again: what is idle is closed
        now, what is in use when it comes back. (The pool's own `dispose` leaves that to the garbage
        collector.)"""
        self._left_at = time.monotonic()
        self.engine.dispose()

    def _close_old(self, connection: Any, record: ConnectionPoolEntry) -> None:
        if record.info.get("made_at", self._left_at) < self._left_at:
            record.close()

    def answers(self) -> bool:
        """True. Raises Unavailable."""
        with self.unit() as session:
            session.execute(text("SELECT 1"))
        return True

    def _ask(self) -> None:
        with self.engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")

    def close(self) -> None:
        """Ends every connection."""
        if self._breaker:
            self._breaker.close()
        self.engine.dispose()


def refuses_newcomers(error: Exception) -> bool:
    """Whether Postgres said that it is shutting down (or starting up): psycopg2 gives no code for a refused
    connection."""
    return "the database system is shutting down" in str(error)
