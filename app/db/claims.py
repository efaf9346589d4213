"""Waiting predictions become a worker's: those that it was notified of, or the oldest of its queues. Two
statements, both with the worker's capacity: of each version no more than that, the oldest first. Nothing
here commits. Called by services/predictions/lifecycle.py only.

`capacity` says how many more of a version there may be; a version that it does not name has no limit.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.autocommit import Autocommit
from app.db.planner import BY_AGE, IN_QUEUE, by_index, hidden
from app.db.predictions import RETURNING, execute, execute_prepared
from app.domain.predictions import Prediction

# The work begins before Postgres has a claim on its disk. Should it crash in the same moment, the prediction
# waits again as if nobody had claimed it; who claims it next has another fence, or is the worker that runs it
# already. An end is always on disk.
ASYNC_COMMIT = "(SELECT set_config('synchronous_commit', 'off', true)) = 'off'"
CLAIM = """UPDATE predictions AS p SET status = 'processing', attempt = p.attempt + 1, worker = :worker,
        started_at = now(), progress = NULL"""
IS_DUE = "{0}run_after <= now() AND ({0}deadline IS NULL OR {0}deadline > now())"
WANTS_START = "coalesce('start' = ANY({0}webhook_events), false)"  # a webhook, written with the claim
LEFT_OF_VERSION = "coalesce((CAST(:capacity AS jsonb) ->> {0}version_id)::int, {1})"
FITS = f"""row_number() OVER (PARTITION BY c.version_id ORDER BY c.id)
            <= {LEFT_OF_VERSION.format("c.", 1_000_000)} AS fits"""

# A row that is locked is being claimed, canceled or moved by somebody else: it is left to them, so a claim
# waits for nobody and cannot deadlock, in whatever order two of them come by the same rows.
_BY_IDS = f"""
    {CLAIM}
    FROM (SELECT c.id, {FITS} FROM (
            SELECT c.id, c.version_id FROM predictions AS c
            WHERE c.id = ANY(:ids) AND {hidden("c.status")} = 'starting' AND {IS_DUE.format("c.")}
              AND (:with_start_webhook OR NOT {WANTS_START.format("c.")}) {{more}}
            ORDER BY c.id FOR UPDATE SKIP LOCKED) AS c) AS w
    WHERE p.id = w.id AND w.fits AND {ASYNC_COMMIT}
    {RETURNING}"""
BY_IDS = text(_BY_IDS.format(more=""))
# While some queue is paused, which is seldom: nobody else pays for the condition.
BY_IDS_BUT = text(_BY_IDS.format(more="AND c.queue <> ALL(:paused)"))
# The same for one id, which has no share to be counted and nobody to deadlock with: 0.04 ms less.
BY_ID = text(f"""
    {CLAIM}
    WHERE p.id = :id AND {hidden("p.status")} = 'starting' AND {IS_DUE.format("p.")}
      AND (:with_start_webhook OR NOT {WANTS_START.format("p.")})
      AND {LEFT_OF_VERSION.format("p.", 1)} > 0 AND {ASYNC_COMMIT}
    {RETURNING}""")


def by_ids(
    session: Session | Autocommit,
    ids: Sequence[str],
    worker: UUID,
    capacity: Mapping[str, int],
    *,
    with_start_webhook: bool,
    paused: Collection[str] = (),
) -> list[Prediction]:
    """Moves those that wait to this worker, but not out of queues that are paused; `with_start_webhook`: also
    those with a webhook for their start."""
    params = {"worker": worker, "with_start_webhook": with_start_webhook, "capacity": _json(capacity)}
    if paused:
        return execute(session, BY_IDS_BUT, ids=list(ids), paused=list(paused), **params)
    if len(ids) == 1:
        return execute_prepared(session, BY_ID, id=ids[0], **params)
    return execute_prepared(session, BY_IDS, ids=list(ids), **params)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A prediction that was not claimed: for lack of capacity, or because its start has a webhook."""

    id: str
    version_id: str
    wants_start: bool


STILL_WAITING = text(f"""
    SELECT id, version_id, queue, {WANTS_START.format("")} AS wants_start FROM predictions
    WHERE id = ANY(:ids) AND {hidden("status")} = 'starting' AND {IS_DUE.format("")} ORDER BY id""")


def still_waiting(
    session: Session | Autocommit, ids: Sequence[str], paused: Collection[str] = ()
) -> list[Waiting]:
    """Those of the ids that could be claimed, the oldest first."""
    rows = session.execute(STILL_WAITING, {"ids": list(ids)}).mappings()
    return [
        Waiting(row["id"], row["version_id"], row["wants_start"])
        for row in rows
        if row["queue"] not in paused
    ]


# Looked at in each queue: as many as are claimed, and some for workers that look at the same moment, whose
# rows are skipped. Where some version is full, more: what waits behind so many of full versions is claimed by
# its message.
LOOKED_AT_TIMES, LOOKED_AT_PAST_FULL = 4, 2_000
OLDEST = by_index(f"""
    {CLAIM}
    FROM (SELECT c.id, {FITS} FROM (
            SELECT id, version_id FROM predictions WHERE {hidden("status")} = 'starting' AND id = ANY(ARRAY(
                SELECT w.id FROM unnest(CAST(:queues AS text[])) AS q(name) CROSS JOIN LATERAL (
                    SELECT id, version_id FROM predictions
                    WHERE {IN_QUEUE.format("q.name")} AND {IS_DUE.format("")}
                    {BY_AGE} LIMIT :looked_at) AS w
                WHERE {LEFT_OF_VERSION.format("w.", 1)} > 0 ORDER BY w.id LIMIT :candidates))
            ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED) AS c) AS w
    WHERE p.id = w.id AND w.fits AND {ASYNC_COMMIT}
    {RETURNING}""")


def oldest(
    session: Session, queues: Sequence[str], worker: UUID, limit: int, capacity: Mapping[str, int]
) -> list[Prediction]:
    """Moves at most `limit` of the oldest that wait in these queues to this worker, whatever Redis knows of
    them."""
    candidates = limit * LOOKED_AT_TIMES
    some_full = any(more <= 0 for more in capacity.values())
    params = {
        "queues": list(queues),
        "limit": limit,
        "candidates": candidates,
        "looked_at": max(candidates, LOOKED_AT_PAST_FULL) if some_full else candidates,
        "capacity": _json(capacity),
    }
    return execute(session, OLDEST, worker=worker, **params)


def _json(capacity: Mapping[str, int]) -> str:
    return orjson.dumps(dict(capacity)).decode()
