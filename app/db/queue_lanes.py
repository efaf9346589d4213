"""What waits, by queue, by model and by user, for people who look. Bounded like every count of what waits."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.domain.statistics import Lane

LOOKED_AT = 20_000  # waiting predictions; grouping them takes some 20 ms
MOST = 50  # lanes of each kind, the fullest

# By the index of what waits by queue: it holds nothing else, so the first so many are a bounded look.
LANES = text("""
    WITH waiting AS MATERIALIZED (
        SELECT queue, model, user_id, created_at FROM predictions WHERE status = 'starting'
        ORDER BY queue, id LIMIT :looked_at
    ), lanes AS (
        SELECT *, row_number() OVER (PARTITION BY kind ORDER BY waiting DESC) AS place FROM (
            SELECT queue, model, user_id, grouping(queue, model, user_id) AS kind, count(*) AS waiting,
                   min(created_at) AS oldest
            FROM waiting GROUP BY GROUPING SETS ((queue), (model), (user_id))) AS counted
    )
    SELECT CASE kind WHEN 3 THEN 'queue' WHEN 5 THEN 'model' ELSE 'user' END AS kind,
           coalesce(lanes.queue, lanes.model, u.username, 'anonymous') AS name, waiting,
           extract(epoch FROM now() - oldest)::float AS oldest_seconds,
           (SELECT count(*) FROM waiting) AS looked_at
    FROM lanes LEFT JOIN users AS u ON u.id = lanes.user_id
    WHERE place <= :most ORDER BY kind, waiting DESC, name""")


def lanes(session: Session) -> tuple[list[Lane], bool]:
    """The fullest lanes of each kind, and whether everything that waits was counted."""
    rows = session.execute(LANES, {"looked_at": LOOKED_AT, "most": MOST}).all()
    counted = max((row.looked_at for row in rows), default=0)
    return [
        Lane(row.kind, row.name, row.waiting, max(0.0, row.oldest_seconds)) for row in rows
    ], counted < LOOKED_AT
