"""Waiting predictions move to a worker: those it heard of, or the oldest of its queues. Groups only; nothing
here commits.

`…_within` take no more of a version than the worker has room for. Called by services/predictions/lifecycle.py
only.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.autocommit import Autocommit
from app.db.predictions import BY_AGE, IN_QUEUE, RETURNING, by_id, run
from app.domain.predictions import Prediction

# The work begins before Postgres has a claim on its disk. Should it crash in the same moment, the prediction
# waits again as if nobody had claimed it; who claims it next has another fence, or is the worker that runs it
# already. An end is always on disk.
ASYNC_COMMIT = "(SELECT set_config('synchronous_commit', 'off', true)) = 'off'"
CLAIM = by_id(f"""
    UPDATE predictions AS p SET status = 'processing', attempt = p.attempt + 1, worker = :worker,
        started_at = now(),
           progress = NULL, output = NULL
    WHERE {{ids}} AND {{status}} = 'starting' AND p.run_after <= now() AND (p.deadline IS NULL
        OR p.deadline > now())
      AND (:with_start_webhook OR NOT coalesce('start' = ANY(p.webhook_events), false)) AND {ASYNC_COMMIT}
    {RETURNING}""")


def claim(
    session: Session | Autocommit, ids: Sequence[str], worker: UUID, *, with_start_webhook: bool
) -> list[Prediction]:
    """Moves waiting predictions to this worker; `with_start_webhook`: also those with a webhook for their
    start. The ids are sorted so that two claims never deadlock."""
    return CLAIM.run(session, sorted(ids), worker=worker, with_start_webhook=with_start_webhook)


CLAIM_OLDEST = text(f"""
    UPDATE predictions AS p SET status = 'processing', attempt = p.attempt + 1, worker = :worker,
        started_at = now(),
           progress = NULL, output = NULL
    FROM (SELECT w.id FROM unnest(CAST(:queues AS text[])) AS q(name) CROSS JOIN LATERAL (
              SELECT id FROM predictions WHERE {IN_QUEUE.format("q.name")} AND run_after <= now()
                AND (deadline IS NULL OR deadline > now())
              {BY_AGE} LIMIT :limit FOR UPDATE SKIP LOCKED) AS w
          ORDER BY w.id LIMIT :limit) AS c
    WHERE p.id = c.id AND {ASYNC_COMMIT}
    {RETURNING}""")


def claim_oldest(session: Session, queues: Sequence[str], worker: UUID, limit: int) -> list[Prediction]:
    """Moves the oldest waiting predictions of these queues to this worker, whatever Redis knows of them."""
    return run(session, CLAIM_OLDEST, queues=list(queues), worker=worker, limit=limit)


# Of each version no more than the worker has room for; the oldest first.
WITHIN = """row_number() OVER (PARTITION BY c.version_id ORDER BY c.id)
              <= coalesce((CAST(:capacity AS json) ->> c.version_id)::int, 1000000) AS fits"""
CLAIM_WITHIN = text(f"""
    UPDATE predictions AS p SET status = 'processing', attempt = p.attempt + 1, worker = :worker,
        started_at = now(),
           progress = NULL, output = NULL
    FROM (SELECT c.id, {WITHIN} FROM predictions AS c
          WHERE c.id = ANY(:ids) AND c.status = 'starting' AND c.run_after <= now()
            AND (c.deadline IS NULL OR c.deadline > now())) AS w
    WHERE p.id = w.id AND w.fits AND p.status = 'starting' AND {ASYNC_COMMIT}
    {RETURNING}""")
LEFT = text(
    "SELECT id, version_id FROM predictions WHERE id = ANY(:ids) AND status = 'starting' AND run_after <="
    " now()"
)


def claim_within(
    session: Session, ids: Sequence[str], worker: UUID, capacity: Mapping[str, int]
) -> tuple[list[Prediction], dict[str, str]]:
    """Like `claim`, but no more of a version than its room. Also returns those that still wait, with their
    versions."""
    claimed = run(
        session, CLAIM_WITHIN, ids=sorted(ids), worker=worker, capacity=orjson.dumps(capacity).decode()
    )
    others = list(set(ids) - {one.id for one in claimed})
    rows = session.execute(LEFT, {"ids": others}) if others else ()
    return claimed, {row.id: row.version_id for row in rows}


LOOKED_AT = 2_000  # of the oldest in each queue; what waits behind so many of full versions has its bell
CLAIM_OLDEST_WITHIN = text(f"""
    UPDATE predictions AS p SET status = 'processing', attempt = p.attempt + 1, worker = :worker,
        started_at = now(),
           progress = NULL, output = NULL
    FROM (SELECT c.id, {WITHIN} FROM (
            SELECT id, version_id FROM predictions WHERE status = 'starting' AND id = ANY(ARRAY(
                SELECT w.id FROM unnest(CAST(:queues AS text[])) AS q(name) CROSS JOIN LATERAL (
                    SELECT id, version_id FROM predictions WHERE {IN_QUEUE.format("q.name")}
                        AND run_after <= now()
                      AND (deadline IS NULL OR deadline > now())
                    {BY_AGE} LIMIT {LOOKED_AT}) AS w
                WHERE NOT w.version_id = ANY(:full) ORDER BY w.id LIMIT :limit))
            FOR UPDATE SKIP LOCKED) AS c) AS w
    WHERE p.id = w.id AND w.fits AND {ASYNC_COMMIT}
    {RETURNING}""")


def claim_oldest_within(
    session: Session, queues: Sequence[str], worker: UUID, limit: int, capacity: Mapping[str, int]
) -> list[Prediction]:
    """Like `steal`, but no more of a version than its room."""
    full = [version for version, left in capacity.items() if left <= 0]
    params = {
        "queues": list(queues),
        "limit": limit,
        "full": full,
        "capacity": orjson.dumps(capacity).decode(),
    }
    return run(session, CLAIM_OLDEST_WITHIN, worker=worker, **params)
