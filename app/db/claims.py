"""Waiting predictions become a worker's, by their ids and within its capacity: of each version no more than
that, the oldest first. Which ids is decided by who claims: those that it was notified of, or whose turn it is
(app/db/turns.py). Nothing here commits. Called by services/predictions/lifecycle.py only.

`capacity` says how many more of a version there may be; a version that it does not name has no limit.
"""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.autocommit import Autocommit
from app.db.planner import hidden
from app.db.predictions import RETURNING, execute, execute_prepared
from app.domain.predictions import Prediction, Waiting

# The work begins before Postgres has a claim on its disk. Should it crash in the same moment, the prediction
# waits again as if nobody had claimed it; who claims it next has another fence, or is the worker that runs it
# already. An end is always on disk.
ASYNC_COMMIT = "(SELECT set_config('synchronous_commit', 'off', true)) = 'off'"
CLAIM = """UPDATE predictions AS p SET status = 'processing', attempt = p.attempt + 1, worker = :worker,
        started_at = now(), progress = NULL"""
IS_DUE = "{0}run_after <= now() AND ({0}deadline IS NULL OR {0}deadline > now())"
LEFT_OF_VERSION = "coalesce((CAST(:capacity AS jsonb) ->> {0}version_id)::int, {1})"
FITS = f"""row_number() OVER (PARTITION BY c.version_id ORDER BY c.id)
            <= {LEFT_OF_VERSION.format("c.", 1_000_000)} AS fits"""

# A row that is locked is being claimed, canceled or moved by somebody else: it is left to them, so a claim
# waits for nobody and cannot deadlock, in whatever order two of them come by the same rows.
_BY_IDS = f"""
    {CLAIM}
    FROM (SELECT c.id, {FITS} FROM (
            SELECT c.id, c.version_id FROM predictions AS c
            WHERE c.id = ANY(:ids) AND {hidden("c.status")} = 'starting' AND {IS_DUE.format("c.")} {{more}}
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
      AND {LEFT_OF_VERSION.format("p.", 1)} > 0 AND {ASYNC_COMMIT}
    {RETURNING}""")


def by_ids(
    session: Session | Autocommit,
    ids: Sequence[str],
    worker: UUID,
    capacity: Mapping[str, int],
    paused: Collection[str] = (),
) -> list[Prediction]:
    """Moves those that wait to this worker, but not out of queues that are paused."""
    params = {"worker": worker, "capacity": _json(capacity)}
    if paused:
        return execute(session, BY_IDS_BUT, ids=list(ids), paused=list(paused), **params)
    if len(ids) == 1:
        return execute_prepared(session, BY_ID, id=ids[0], **params)
    return execute_prepared(session, BY_IDS, ids=list(ids), **params)


AS_WAITING = """{0}id, {0}version_id, {0}user_id, {0}priority,
    greatest(0, extract(epoch FROM now() - {0}created_at))::float AS seconds"""
STILL_WAITING = text(f"""
    SELECT {AS_WAITING.format("")}, queue FROM predictions
    WHERE id = ANY(:ids) AND {hidden("status")} = 'starting' AND {IS_DUE.format("")} ORDER BY id""")


def still_waiting(
    session: Session | Autocommit, ids: Sequence[str], paused: Collection[str] = ()
) -> list[Waiting]:
    """Those of the ids that could be claimed, the oldest first."""
    rows = session.execute(STILL_WAITING, {"ids": list(ids)}).mappings()
    return [
        Waiting(**{name: value for name, value in row.items() if name != "queue"})
        for row in rows
        if row["queue"] not in paused
    ]


def _json(capacity: Mapping[str, int]) -> str:
    return orjson.dumps(dict(capacity)).decode()
