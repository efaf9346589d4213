"""Looks whether backends are registered, over one connection of its own. For the launcher, and for a gateway
worker that waits for the first: they need nothing else of the database, so it is on psycopg2 alone."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg2

LOOK_SECONDS = 2.0
GONE_SECONDS = 30.0  # without a backend, until no gateway worker is needed: one may be about to be replaced
CONNECT_SECONDS = 5
ANY_BACKEND = "SELECT EXISTS (SELECT FROM backends)"


def await_first_backend(url: str, given_up: threading.Event) -> bool:
    """Whether there is one: False when it is `given_up` before."""
    return any(_looks(url, given_up))


def watch_backends(url: str, given_up: threading.Event, set_needed: Callable[[bool], None]) -> None:
    """Says at each look whether a gateway worker is needed: from the first backend on, until there has been
    none for a while."""
    last_seen = -GONE_SECONDS
    for is_there in _looks(url, given_up):
        last_seen = time.monotonic() if is_there else last_seen
        set_needed(time.monotonic() - last_seen < GONE_SECONDS)


def _looks(url: str, given_up: threading.Event) -> Iterator[bool]:
    """Whether there are backends, again and again. A database that is away is asked again."""
    dsn = "postgresql://" + url.partition("://")[2]
    while not given_up.is_set():
        try:
            with closing(_connect(dsn)) as connection, connection.cursor() as cursor:
                while not given_up.is_set():
                    cursor.execute(ANY_BACKEND)
                    yield cursor.fetchone() == (True,)
                    given_up.wait(LOOK_SECONDS)
        except psycopg2.Error:
            given_up.wait(LOOK_SECONDS)


def _connect(dsn: str) -> "psycopg2.extensions.connection":
    connection = psycopg2.connect(
        dsn,
        connect_timeout=CONNECT_SECONDS,
        application_name="lovage-await-backend",
        options="-c statement_timeout=5000",
        keepalives_idle=10,
    )
    connection.autocommit = True
    return connection
