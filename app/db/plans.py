"""A hint to Postgres' planner, for bounded looks along an index."""

from sqlalchemy import text
from sqlalchemy.orm import Session

# After a burst the statistics are minutes old: Postgres takes a million waiting rows for a handful, and sorts
# them all for the first one. Walking an index in its order is right for a bounded look whatever the
# statistics say.
ALONG_INDEXES = text("""
    SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true),
           set_config('enable_seqscan', 'off', true)""")


def along_indexes(session: Session) -> None:
    """For the rest of this transaction."""
    session.execute(ALONG_INDEXES)
