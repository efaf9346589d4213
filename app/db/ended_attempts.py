"""Attempts that were handed back, so that somebody can see later why a prediction ran more than once. Written
in the transaction that hands them back, which is recovery's and never that of a prediction that ends."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.db.objects import to_object
from app.db.platform_tables import EndedAttemptRow
from app.db.tables import WorkerRow
from app.domain.history import EndedAttempt
from app.domain.queue_names import pinned

MOST_KEPT = 100  # of one prediction: it is handed back for as long as its workers stop
LONGEST_REASON = 2_000  # characters

ADD = text("""
    INSERT INTO ended_attempts (prediction_id, attempt, worker, started_at, reason)
    SELECT p.id, r.attempt, w.device || '@' || w.host, p.started_at, left(r.reason, :longest)
    FROM json_to_recordset(:rows) AS r(id text, attempt int, worker uuid, reason text)
    JOIN predictions AS p ON p.id = r.id LEFT JOIN workers AS w ON w.id = r.worker
    WHERE r.attempt <= :most ON CONFLICT DO NOTHING""")


def add(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Before anybody claims them again. `reason` is why each was handed back."""
    if rows:
        encoded = orjson.dumps(list(rows)).decode()
        session.execute(ADD, {"rows": encoded, "most": MOST_KEPT, "longest": LONGEST_REASON})


def by_prediction(session: Session, prediction_id: str) -> list[EndedAttempt]:
    """In order."""
    query = select(EndedAttemptRow).where(EndedAttemptRow.prediction_id == prediction_id)
    return [to_object(EndedAttempt, row) for row in session.scalars(query.order_by(EndedAttemptRow.attempt))]


def worker_name(session: Session, worker: UUID) -> str | None:
    """By its row, which is kept for some days after its end."""
    row = session.get(WorkerRow, worker)
    return pinned(row.device, row.host) if row else None


REMOVE = text("DELETE FROM ended_attempts WHERE prediction_id = ANY(:ids)")


def remove(session: Session, ids: Sequence[str]) -> None:
    """With the data of these predictions."""
    session.execute(REMOVE, {"ids": list(ids)})
