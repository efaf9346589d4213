"""Failed predictions by what went wrong, and the predictions that a bulk act is about. Reads only."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.prediction_lists import ERROR_GROUP, Filter, where_clauses
from app.domain.statistics import ErrorGroup

LOOKED_AT = 10_000  # latest failures of a user; grouping them takes some 50 ms
SPARKS = 24  # parts of the window, for a line of how it went


GROUPS = text(f"""
    WITH failed AS (
        SELECT id, model, error_code, error, completed_at, {ERROR_GROUP} AS error_group FROM predictions
        WHERE user_id = :user_id AND status = 'failed' AND id >= :least
          AND completed_at >= now() - :seconds * interval '1 s' AND (CAST(:model AS text) IS NULL
              OR model = :model)
        ORDER BY id DESC LIMIT :most
    )
    SELECT error_group, model, error_code, (array_agg(error ORDER BY id DESC))[1] AS error, max(id) AS id,
           count(*) AS n, min(completed_at) AS first_at, max(completed_at) AS last_at,
           array_agg(least(:sparks - 1, floor(extract(epoch FROM completed_at - now()
               + :seconds * interval '1 s') * :sparks / :seconds))::int) AS parts
    FROM failed GROUP BY 1, 2, 3 ORDER BY last_at DESC""")


def error_groups(
    session: Session, user_id: UUID, *, seconds: float, least: str, model: str | None
) -> list[ErrorGroup]:
    """A user's failures of the last `seconds` (`least`: an id that is older) in groups, the latest first."""
    params = {"user_id": user_id, "seconds": seconds, "least": least, "model": model}
    rows = session.execute(GROUPS, {**params, "most": LOOKED_AT, "sparks": SPARKS})
    return [
        ErrorGroup(
            row.error_group,
            row.model,
            row.error_code,
            row.error,
            row.id,
            row.n,
            row.first_at,
            row.last_at,
            _counted(row.parts),
        )
        for row in rows
    ]


def _counted(parts: Sequence[int]) -> list[int]:
    counts = [0] * SPARKS
    for part in parts:
        counts[max(0, part)] += 1
    return counts


def select_ids(
    session: Session, narrowed: Filter, *, ids: Sequence[str] | None, ended: bool, after: str, limit: int
) -> list[str]:
    """At most `limit` ids of a user's predictions in order, above `after`: of those named that the filter
    lets through, or of all that it does; only such as have ended, or have not."""
    clauses, params = where_clauses(narrowed)
    clauses += ["id > :after", f"completed_at IS {'NOT ' if ended else ''}NULL"]
    if ids is not None:
        clauses.append("id = ANY(:ids)")
    sql = f"SELECT id FROM predictions WHERE {' AND '.join(clauses)} ORDER BY id LIMIT :limit"
    params |= {"ids": list(ids or ()), "after": after, "limit": limit}
    return list(session.execute(text(sql), params).scalars())
