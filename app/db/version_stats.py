"""One version's latest ended predictions, summed up inside Postgres. Knows no caller and no wire format.

There is no index by version: it would cost every prediction. So the index of ended predictions by time is
read backwards over at most LOOKED_AT predictions of any version, and of this one at most SAMPLE are taken.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.planner import by_index
from app.domain.phases import MEASURED, PHASES

LOOKED_AT = 100_000
SAMPLE = 10_000
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

INDEXED = "completed_at IS NOT NULL AND data_removed_at IS NULL"  # as the index predictions_retention has it
REACH = by_index(f"""
    SELECT now() AS until, now() - :seconds * interval '1 s' AS since, (
        SELECT completed_at FROM predictions
        WHERE {INDEXED} AND completed_at >= now() - :seconds * interval '1 s'
        ORDER BY completed_at DESC OFFSET :looked_at LIMIT 1) AS reach""")

_RECORD = ", ".join(f"{name} float" for name in MEASURED)
_SUM = " + ".join(MEASURED)
_PERCENTILES = ", ".join(
    f"'{name}', (SELECT percentile_cont(ARRAY{list(QUANTILES.values())}) WITHIN GROUP (ORDER BY {name}) FROM"
    " good)"
    for name in (*PHASES, "total")
)
SUMMARY = text(f"""
    WITH sample AS MATERIALIZED (
        SELECT p.status, coalesce(p.error_code, '') AS error_code, p.completed_at, m.*,
               extract(epoch FROM p.completed_at - p.created_at)::float AS total,
               extract(epoch FROM coalesce(p.started_at, p.completed_at) - p.created_at)::float AS queue
        FROM predictions AS p
        CROSS JOIN LATERAL json_to_record(p.metrics) AS m({_RECORD}, batch_size float, padding float,
            device text)
        WHERE {INDEXED} AND p.completed_at >= :since AND p.completed_at <= :until AND p.version_id = :version
        ORDER BY p.completed_at DESC LIMIT :sample
    ), good AS (
        SELECT *, greatest(0, total - queue - ({_SUM})) AS store FROM sample WHERE status = 'succeeded'
            AND run IS NOT NULL
    ), batched AS (
        SELECT batch_size, padding, ceil(log(2, greatest(batch_size, 1)::numeric))::int AS power
        FROM sample WHERE batch_size IS NOT NULL
    )
    SELECT (SELECT count(*) FROM sample) AS count, (SELECT min(completed_at) FROM sample) AS oldest,
           (SELECT coalesce(json_object_agg(status, n), '{{}}')
            FROM (SELECT status, count(*) AS n FROM sample GROUP BY 1) AS a) AS statuses,
           (SELECT coalesce(json_object_agg(error_code, n), '{{}}')
            FROM (SELECT error_code, count(*) AS n FROM sample
                WHERE status = 'failed' GROUP BY 1) AS b) AS errors,
           (SELECT coalesce(json_object_agg(device, n), '{{}}')
            FROM (SELECT device, count(*) AS n FROM sample
                WHERE device IS NOT NULL GROUP BY 1) AS c) AS devices,
           json_build_object({_PERCENTILES}) AS seconds,
           (SELECT coalesce(json_agg(json_build_array(power, n, batches) ORDER BY power), '[]') FROM (
                SELECT power, count(*) AS n, sum(1 / greatest(batch_size, 1)) AS batches
                    FROM batched GROUP BY 1) AS d) AS sizes,
           (SELECT avg(padding) FROM batched) AS padding_mean,
           (SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY padding) FROM batched) AS padding_p95""")


@dataclass(frozen=True, slots=True)
class Summary:
    """`since` is how far back the sample may reach; `complete`: it holds everything from the window's begin
    on.

    `seconds` maps each phase to its quantiles, None without a succeeded prediction; `sizes` lists (power of
    two that the batch sizes do not exceed, predictions, batches).
    """

    since: datetime
    until: datetime
    count: int
    complete: bool
    statuses: dict[str, int]
    errors: dict[str, int]
    devices: dict[str, int]
    seconds: dict[str, dict[str, float] | None]
    sizes: list[tuple[int, int, float]]
    padding_mean: float | None
    padding_p95: float | None


def summary(session: Session, version_id: str, seconds: float) -> Summary:
    """The version's latest ended predictions of the last `seconds`."""
    bounds = session.execute(REACH, {"seconds": seconds, "looked_at": LOOKED_AT}).one()
    since = bounds.reach or bounds.since
    params = {"version": version_id, "since": since, "until": bounds.until, "sample": SAMPLE}
    row = session.execute(SUMMARY, params).mappings().one()
    full = row["count"] >= SAMPLE
    return Summary(
        since=row["oldest"] if full else since,
        until=bounds.until,
        count=row["count"],
        complete=not full and bounds.reach is None,
        seconds={name: _named(values) for name, values in row["seconds"].items()},
        sizes=[(power, count, batches) for power, count, batches in row["sizes"]],
        **{name: row[name] for name in ("statuses", "errors", "devices", "padding_mean", "padding_p95")},
    )


def _named(values: list[float] | None) -> dict[str, float] | None:
    return None if values is None else dict(zip(QUANTILES, values, strict=True))
