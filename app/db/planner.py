"""How a statement is kept on the one index that serves it. The only place with hints to Postgres' planner.

The planner trusts its statistics. Ours are minutes old whenever it matters: after a burst they say a handful
of predictions wait where a million do, after a flood has ended the other way round, and a kept plan was made
while the table was nearly empty. So a look that is bounded by an index says so, in two halves; both are
needed, because Postgres has settings against plans without an index, and none to choose between two indexes.

1. `by_index` puts BY_INDEX in front of the statement: no plan that reads the table or sorts what it found.
   It holds until the transaction ends; a statement of its own is a transaction of its own.
2. `hidden`, IN_QUEUE and BY_AGE word a condition so that no other index can serve it.
   - `hidden("p.status")` beside `p.id = …`: the indexes of what waits or runs are partial, and while few wait
     Postgres takes them for as good as the key. With 100,000 that had come since the last ANALYZE, claiming
     64 by their ids read all 100,000 entries of such an index.
   - IN_QUEUE with BY_AGE for the oldest of a queue: with `queue = …` the planner knows the order by id to be
     enough, takes the primary key and walks through all that has ended. 300,000 of those cost 182,000 pages
     with all of BY_INDEX set. Between equal bounds it cannot know, and is left with (queue, id).

tests/db/test_prepared_statements.py and tests/db/test_plans.py hold the plans.
"""

from sqlalchemy import TextClause, text

# For a kept plan: made once for whatever parameters (`force_generic_plan`), not anew for each of the first
# five.
BY_INDEX = (
    "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; "
    "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; "
)

# Before a statement that goes by an index of several columns: not by another that has the first of them in
# order, with what is between them sorted.
UNSORTED = "SET LOCAL enable_incremental_sort = off; "

IN_QUEUE = "status = 'starting' AND queue BETWEEN {0} AND {0}"  # of the queue named by an expression
BY_AGE = "ORDER BY queue, id"


def by_index(sql: str) -> TextClause:
    """A statement for which, and for the rest of whose transaction, Postgres goes by indexes alone."""
    return text(BY_INDEX + sql)


def hidden(column: str) -> str:
    """A text column as no index has it."""
    return f"{column} || ''"
