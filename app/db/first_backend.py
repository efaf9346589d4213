"""Waits until a backend is registered, over one connection of its own. For the launcher, and for a gateway
worker that was started before: they need nothing else of the database yet, so it is on psycopg2 alone."""

import threading
from contextlib import closing

import psycopg2

LOOK_SECONDS = 2.0
CONNECT_SECONDS = 5
ANY_BACKEND = "SELECT EXISTS (SELECT FROM backends)"


def await_first_backend(url: str, given_up: threading.Event) -> bool:
    """Whether there is one: False when it is `given_up` before. A database that is away is asked again."""
    dsn = "postgresql://" + url.partition("://")[2]
    while not given_up.is_set():
        try:
            with closing(_connect(dsn)) as connection, connection.cursor() as cursor:
                while not given_up.is_set():
                    cursor.execute(ANY_BACKEND)
                    if cursor.fetchone() == (True,):
                        return True
                    given_up.wait(LOOK_SECONDS)
        except psycopg2.Error:
            given_up.wait(LOOK_SECONDS)
    return False


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
