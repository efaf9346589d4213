"""Counts for operators: what waits, what runs. Each query reads an index of the unfinished predictions only."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

QUEUES = text("""
    SELECT queue, count(*) AS waiting, extract(epoch FROM now() - min(created_at))::float AS oldest_seconds
    FROM predictions WHERE status = 'starting' GROUP BY queue ORDER BY queue""")
RUNNING = text("SELECT count(*) FROM predictions WHERE status = 'processing'")


def ping(session: Session) -> None:
    """Raises when Postgres does not answer."""
    session.execute(text("SELECT 1"))


def queues(session: Session) -> list[dict[str, Any]]:
    """Waiting predictions of each queue, with the age of the oldest in seconds."""
    return [dict(row) for row in session.execute(QUEUES).mappings()]


def running(session: Session) -> int:
    """Predictions that a worker holds."""
    return int(session.scalar(RUNNING) or 0)
