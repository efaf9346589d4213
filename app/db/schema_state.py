"""Whether the database has the tables that this release needs.

A newer schema than this release knows is no fault: migrations only add within a release, and old processes go
on while new ones start. Knows Alembic's table and its revisions.
"""

from functools import cache

from sqlalchemy import text
from sqlalchemy.orm import Session

HAS_TABLE = text("SELECT to_regclass('alembic_version') IS NOT NULL")
REVISIONS = text("SELECT version_num FROM alembic_version")


@cache
def older_revisions() -> frozenset[str]:
    """All that this release knows but for the newest."""
    from alembic.script import ScriptDirectory  # when it is first asked: it takes a tenth of a second

    from app.db.migrate import config

    script = ScriptDirectory.from_config(config(""))
    heads = set(script.get_heads())
    return frozenset(each.revision for each in script.walk_revisions()) - heads


def needs_migration(session: Session) -> bool:
    """Whether `lovage migrate` has still to run, or runs."""
    if not session.execute(HAS_TABLE).scalar_one():
        return True
    applied = set(session.execute(REVISIONS).scalars())
    return not applied or not applied.isdisjoint(older_revisions())
