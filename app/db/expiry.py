"""How far behind the removal of old data is. Every look is the first entry of an index."""

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.planner import by_index

RetentionHours = Mapping[str, float | None]

OLDEST = {
    "predictions": "SELECT completed_at FROM predictions"
    " WHERE completed_at IS NOT NULL AND data_removed_at IS NULL ORDER BY completed_at LIMIT 1",
    "files": "SELECT expires_at FROM files WHERE expires_at IS NOT NULL ORDER BY expires_at LIMIT 1",
    "webhooks": "SELECT created_at FROM deliveries WHERE next_at IS NULL ORDER BY created_at LIMIT 1",
    "idempotency_keys": "SELECT created_at FROM idempotency_keys ORDER BY created_at LIMIT 1",
    "audit": "SELECT at FROM audit_log ORDER BY at LIMIT 1",
}
OVERDUE = by_index(
    "SELECT "
    + ", ".join(
        f"coalesce(greatest(0, extract(epoch FROM now() - ({oldest})) - :{kind}), 0)::float AS {kind}"
        for kind, oldest in OLDEST.items()
    )
)
SECONDS = text("SET LOCAL statement_timeout = '2s'")


def overdue_seconds(session: Session, retention: RetentionHours) -> dict[str, float]:
    """By kind, how long the oldest of it should have been removed."""
    params = {kind: (retention.get(kind) or 0.0) * 3600 for kind in OLDEST}
    session.execute(SECONDS)
    row = session.execute(OVERDUE, params).mappings().one()
    return {kind: row[kind] for kind in OLDEST if kind in retention}
