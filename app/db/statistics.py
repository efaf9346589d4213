"""Queries about minutes of statistics and days of usage. Written by the sweep, once for each minute; nothing
here costs a prediction anything.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from app.domain.statistics import HIGHEST, PER_DOUBLING, SHORTEST, Counts, Minute, QueueMinute, UsageDay

NOBODY = UUID(int=0)  # stands for anonymous callers in a key
LATE_SECONDS = 5  # for the commits of what ended in the last moment of a minute
LONGEST_GAP_MINUTES = 60  # read at once after the sweep stood still; what was before that is not made up for
KEEP_HOURS, KEEP_DAYS = 49, 400

# The minutes that are over and not written: from the last written one on.
DUE = text("""
    SELECT greatest(coalesce((SELECT max(at) + interval '1 min' FROM queue_minutes),
                             date_trunc('minute', now()) - interval '1 min'),
                    date_trunc('minute', now()) - :gap * interval '1 min') AS since,
           date_trunc('minute', now() - :late * interval '1 s') AS until""")

# By the index predictions_retention, as version_stats: a batch of n counts n times 1/n of its device's time.
WRITE = text(f"""
    WITH ended AS (
        SELECT date_trunc('minute', completed_at) AS at, coalesce(user_id, :nobody) AS user_id, model, status,
               least({HIGHEST}, greatest(0, ceil({PER_DOUBLING} * ln(greatest(1e-6,
                   extract(epoch FROM completed_at - created_at)::float) / {SHORTEST}) / ln(2::float))))::int
                   AS bucket,
               coalesce(extract(epoch FROM completed_at - started_at)::float, 0)
                   / greatest(1, coalesce((metrics ->> 'batch_size')::float, 1)) AS device_seconds
        FROM predictions
        WHERE completed_at IS NOT NULL AND data_removed_at IS NULL
          AND completed_at >= :since AND completed_at < :until
    ), buckets AS (
        SELECT at, user_id, model, status, bucket, count(*) AS n, sum(device_seconds) AS device_seconds
        FROM ended GROUP BY 1, 2, 3, 4, 5
    ), minutes AS (
        INSERT INTO statistics_minutes
            (at, user_id, model, succeeded, failed, canceled, device_seconds, seconds)
        SELECT at, user_id, model, coalesce(sum(n) FILTER (WHERE status = 'succeeded'), 0),
               coalesce(sum(n) FILTER (WHERE status = 'failed'), 0),
               coalesce(sum(n) FILTER (WHERE status = 'canceled'), 0), sum(device_seconds),
               coalesce(jsonb_object_agg(bucket, n) FILTER (WHERE status = 'succeeded'), '{{}}')
        FROM buckets GROUP BY 1, 2, 3
        ON CONFLICT DO NOTHING
        RETURNING at, user_id, model, succeeded, failed, canceled, device_seconds
    ), runs AS (
        INSERT INTO model_runs AS r (model, runs)
        SELECT model, sum(succeeded + failed + canceled) FROM minutes GROUP BY 1
        ON CONFLICT (model) DO UPDATE SET runs = r.runs + excluded.runs
    )
    INSERT INTO usage_days AS d (day, user_id, model, succeeded, failed, canceled, device_seconds)
    SELECT (at AT TIME ZONE 'UTC')::date, user_id, model, sum(succeeded), sum(failed), sum(canceled),
           sum(device_seconds)
    FROM minutes GROUP BY 1, 2, 3
    ON CONFLICT (day, user_id, model) DO UPDATE SET succeeded = d.succeeded + excluded.succeeded,
        failed = d.failed + excluded.failed, canceled = d.canceled + excluded.canceled,
        device_seconds = d.device_seconds + excluded.device_seconds""")

WRITE_QUEUE = text("""
    INSERT INTO queue_minutes (at, waiting, running)
    SELECT :until - interval '1 min', :waiting, :running ON CONFLICT DO NOTHING""")

FORGET_MINUTES = text("DELETE FROM statistics_minutes WHERE at < now() - :hours * interval '1 h'")
FORGET_QUEUE = text("DELETE FROM queue_minutes WHERE at < now() - :hours * interval '1 h'")
FORGET_DAYS = text("DELETE FROM usage_days WHERE day < now() - :days * interval '1 day'")


def due_minutes(session: Session) -> tuple[datetime, datetime] | None:
    """From when to when whole minutes are over and not written; None when there are none."""
    row = session.execute(DUE, {"gap": LONGEST_GAP_MINUTES, "late": LATE_SECONDS}).one()
    return (row.since, row.until) if row.since < row.until else None


def write_minutes(session: Session, since: datetime, until: datetime, *, waiting: int, running: int) -> None:
    """What ended from `since` to before `until`, and what waits and runs now; removes what is too old."""
    session.execute(WRITE, {"since": since, "until": until, "nobody": NOBODY})
    session.execute(WRITE_QUEUE, {"until": until, "waiting": waiting, "running": running})
    session.execute(FORGET_MINUTES, {"hours": KEEP_HOURS})
    session.execute(FORGET_QUEUE, {"hours": KEEP_HOURS})
    session.execute(FORGET_DAYS, {"days": KEEP_DAYS})


MINUTES = text("""
    SELECT at, succeeded, failed, canceled, device_seconds, seconds FROM statistics_minutes
    WHERE at >= to_timestamp(:since) AND at < to_timestamp(:until)
      AND (CAST(:user_id AS uuid) IS NULL OR user_id = :user_id)
      AND (CAST(:model AS text) IS NULL OR model = :model)""")


def minutes(
    session: Session, since: int, until: int, *, user_id: UUID | None, model: str | None = None
) -> list[Minute]:
    """Minutes between two Unix times, of one user (None: of all) and one model (None: of all)."""
    params = {"since": since, "until": until, "user_id": user_id, "model": model}
    return [_minute(row) for row in session.execute(MINUTES, params)]


def _minute(row: Row[Any]) -> Minute:
    buckets = {int(bucket): count for bucket, count in row.seconds.items()}
    counts = Counts(row.succeeded, row.failed, row.canceled, row.device_seconds, buckets)
    return Minute(row.at, counts)


QUEUE = text("""
    SELECT at, waiting, running FROM queue_minutes
    WHERE at >= to_timestamp(:since) AND at < to_timestamp(:until)""")


def queue_minutes(session: Session, since: int, until: int) -> list[QueueMinute]:
    """What waited and ran in all."""
    rows = session.execute(QUEUE, {"since": since, "until": until})
    return [QueueMinute(row.at, row.waiting, row.running) for row in rows]


RUNS = text("SELECT model, runs FROM model_runs WHERE model = ANY(:models)")


def run_counts(session: Session, models: Sequence[str]) -> dict[str, int]:
    """How many predictions of each owner/name have ended, up to the last written minute; of which none has,
    is left out."""
    return {row.model: row.runs for row in session.execute(RUNS, {"models": list(models)})}


USAGE = text("""
    SELECT d.day, u.username, d.model, d.succeeded, d.failed, d.canceled, d.device_seconds
    FROM usage_days AS d LEFT JOIN users AS u ON u.id = d.user_id
    WHERE d.day > (now() AT TIME ZONE 'UTC')::date - CAST(:days AS int)
      AND (CAST(:user_id AS uuid) IS NULL OR d.user_id = :user_id)
    ORDER BY d.day DESC, u.username, d.model LIMIT :most""")


def usage(session: Session, days: int, *, user_id: UUID | None, most: int) -> list[UsageDay]:
    """The last days' usage of one user (None: of all), newest first; at most `most` rows."""
    rows = session.execute(USAGE, {"days": days, "user_id": user_id, "most": most})
    return [UsageDay(*row) for row in rows]
