"""What an error of the driver means: Postgres is away, or it is there and has refused this statement.

The driver's classes do not say: an OperationalError is a lost connection as well as a statement that took too
long. SQLSTATE does, and a connection that is lost has none. Knows psycopg2 and SQLAlchemy's wrapping of it.
"""

import psycopg2
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.domain.errors import DatabaseRefused

# Class 08: no connection. 57P01 to 57P05: the server is leaving, starting, or has ended the session; 25P03: a
# transaction that said nothing for too long, whose connection is closed.
LOST = ("08", "57P", "25P03")
# A process may start before `lovage migrate` has run.
NO_SCHEMA = "lacks tables or columns of this release, which `lovage migrate` makes"
# By class or whole code: what is said, and whether the same may go well later or alone.
REFUSED = {
    "57014": ("took longer than a statement may take", True),
    "40": ("was in the way of another that wrote the same", True),  # deadlock, serialization failure
    "55P03": ("waited too long for a lock", True),
    "53": ("has no memory, disk or connection left for it", True),
    "58": ("could not read or write its files", True),
    "54": ("is larger than the database takes", False),
    **dict.fromkeys(("42P01", "42703", "3F000"), (NO_SCHEMA, True)),  # no such table, column, schema
}


def state_of(error: Exception) -> str | None:
    """SQLSTATE; None where there is none, as when the connection broke."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "pgcode", None)
    return str(state) if state else None


def is_lost(error: Exception) -> bool:
    """Whether there was no connection to be had, or it broke, or Postgres is about to end."""
    if isinstance(error, PoolTimeout):
        return True
    if state := state_of(error):
        return state.startswith(LOST)
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        error = error.orig if isinstance(error.orig, Exception) else error
    return isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)


def is_answer_lost(error: BaseException | None) -> bool:
    """Of an error of the driver: whether a statement was sent and may have been carried out all the same: no
    answer came. Where Postgres itself ended the session (57P01), it said so, and has undone it."""
    return isinstance(error, psycopg2.Error | DBAPIError) and state_of(error) is None and is_lost(error)


def refusal_of(error: Exception) -> DatabaseRefused | None:
    """What Postgres, being there, has refused for reasons of its own; None for anything else: no connection,
    or a statement that is wrong."""
    state = state_of(error) or ""
    for kind, (words, may_pass) in REFUSED.items():
        if state.startswith(kind):
            return DatabaseRefused(f"The database did not carry this out: it {words}.", may_pass=may_pass)
    return None


def reason_of(error: Exception) -> str:
    """For a log: what Postgres said, without the values that it repeats (of a key, of a line of the
    statement)."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg2.Error):
        message = cause.diag.message_primary if cause.diag else None
        return f"{type(cause).__name__} {cause.pgcode or ''}: {(message or 'no message')[:300]}"
    return type(cause).__name__
