"""Who waits in a worker's queues, and the first of each: one look along `predictions_in_turn`.

A group is what waits of one user in one queue, in one band, of one version (by the beginning of its id). The
look goes from group to group, with one step for each, however many wait in it: so a user behind a million of
another's is seen as soon as anybody. It begins at a random user, and does not see more than GROUPS: with more
than that, the next looks do. It locks nothing and claims nothing.
"""

from collections.abc import Sequence
from uuid import uuid4

from sqlalchemy.orm import Session

from app.db.autocommit import Autocommit
from app.db.claims import AS_WAITING, IS_DUE
from app.db.planner import UNSORTED, by_index
from app.domain.predictions import Waiting

GROUPS = 256
KEY = "queue, priority, left(version_id, 8)"
USERS_KEY = f"user_id, {KEY}"
ORDER = f"ORDER BY {USERS_KEY}, id"
OF = "g.queue, g.priority, g.kind"


def _step(condition: str) -> str:
    """The first row of the next group."""
    return f"""SELECT user_id, queue, priority, left(version_id, 8) AS kind FROM predictions
        WHERE status = 'starting' AND {condition} {ORDER} LIMIT 1"""


def _groups(name: str, first: str, following: str) -> str:
    """One group after the other."""
    return f"""{name} AS (({_step(first)}) UNION ALL
        SELECT n.* FROM {name} AS g CROSS JOIN LATERAL ({_step(following)}) AS n)"""


def _heads(groups: str, least: str, most: str) -> str:
    """The first of each group, of all together some :most. The row comparisons say what an equality would, so
    that no other index can serve them (app/db/planner.py)."""
    return f"""SELECT {AS_WAITING.format("h.")} FROM (
            SELECT g.*, greatest(1, CAST(:most AS int) / (count(*) OVER ())::int) AS share FROM {groups} AS g
        ) AS g CROSS JOIN LATERAL (
            SELECT * FROM predictions WHERE status = 'starting' AND {least} AND {most} AND {IS_DUE.format("")}
            {ORDER} LIMIT g.share) AS h"""


LATER = f"({USERS_KEY}) > (g.user_id, {OF})"
ANONYMOUS = f"user_id IS NULL AND ({KEY})"
IN_TURN = by_index(f"""{UNSORTED}
    WITH RECURSIVE
    {_groups("later", "user_id >= CAST(:start AS uuid)", LATER)},
    {_groups("earlier", "user_id < CAST(:start AS uuid)", f"{LATER} AND user_id < CAST(:start AS uuid)")},
    {_groups("anonymous", "user_id IS NULL", f"{ANONYMOUS} > ({OF})")},
    named AS MATERIALIZED (
        SELECT * FROM (SELECT * FROM later UNION ALL SELECT * FROM earlier LIMIT {GROUPS}) AS g
        WHERE g.queue = ANY(CAST(:queues AS text[]))),
    nameless AS MATERIALIZED (
        SELECT * FROM (SELECT * FROM anonymous LIMIT {GROUPS}) AS g
        WHERE g.queue = ANY(CAST(:queues AS text[])))
    {_heads("named", f"({USERS_KEY}) >= (g.user_id, {OF})", f"({USERS_KEY}) <= (g.user_id, {OF})")}
    UNION ALL
    {_heads("nameless", f"{ANONYMOUS} >= ({OF})", f"({KEY}) <= ({OF})")}""")


def next_of_groups(session: Session | Autocommit, queues: Sequence[str], most: int) -> list[Waiting]:
    """The first of everybody who waits in these queues, of all together some `most`, the oldest first."""
    params = {"queues": list(queues), "most": most, "start": str(uuid4())}
    rows = session.execute(IN_TURN, params).mappings()
    return sorted((Waiting(**row) for row in rows), key=lambda waiting: waiting.id)
