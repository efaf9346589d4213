"""Counts for operators: what waits, what runs. Each query reads an index of the unfinished predictions
only."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db import predictions
from app.db.predictions import BY_AGE, IN_QUEUE

# The oldest has the first id, so its row is the only one that must be read.
QUEUE = text(f"""
    SELECT count(*) AS waiting, (SELECT extract(epoch FROM now() - created_at)::float FROM predictions
                                 WHERE {IN_QUEUE.format(":queue")} {BY_AGE} LIMIT 1) AS oldest_seconds
    FROM predictions WHERE status = 'starting' AND queue = :queue""")
RUNNING = text("SELECT count(*) FROM predictions WHERE status = 'processing'")


def ping(session: Session) -> None:
    """Raises when Postgres does not answer."""
    session.execute(text("SELECT 1"))


def queues(session: Session) -> list[dict[str, Any]]:
    """Waiting predictions of each queue, with the age of the oldest in seconds."""
    names = sorted(predictions.queues_waiting(session))
    counted = [{"queue": name, **session.execute(QUEUE, {"queue": name}).mappings().one()} for name in names]
    return [one for one in counted if one["waiting"]]


def running(session: Session) -> int:
    """Predictions that a worker holds."""
    return int(session.scalar(RUNNING) or 0)
