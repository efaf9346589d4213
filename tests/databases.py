"""Databases of a test's own, on the test servers."""

from uuid import uuid4

import psycopg2


def make_database(url: str) -> str:
    """The URL of a new empty database on the same server."""
    name = f"own_{uuid4().hex[:8]}"
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    connection.autocommit = True
    connection.cursor().execute(f"CREATE DATABASE {name}")
    connection.close()
    return url.rpartition("/")[0] + f"/{name}"
