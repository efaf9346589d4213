"""Waiting predictions are claimed in turn between users: a band for each prediction, a weight and the highest
band for each user, and the index along which a worker finds who waits.

The new columns have constant defaults, so no table is written anew. The index holds what waits only and is
built beside the work.
"""

import sqlalchemy as sa

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

WAITING = "status = 'starting'"
IN_TURN = "user_id, queue, priority, (left(version_id, 8)), id"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    for table, column in (("predictions", "priority"), ("users", "highest_priority")):
        kind = sa.Column(column, sa.SmallInteger(), nullable=False, server_default="1")
        op.add_column(table, kind, if_not_exists=True)
    weight = sa.Column("weight", sa.Float(), nullable=False, server_default="1")
    op.add_column("users", weight, if_not_exists=True)
    op.create_index(
        "users_weighted", "users", ["id"], postgresql_where=sa.text("weight <> 1"), if_not_exists=True
    )
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        # what is left of one that was interrupted
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS predictions_in_turn")
        op.execute(
            f"CREATE INDEX CONCURRENTLY predictions_in_turn ON predictions ({IN_TURN}) WHERE {WAITING}"
        )
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS predictions_waiting_by_user")
        op.execute("SET lock_timeout = '10s'")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.create_index(
        "predictions_waiting_by_user", "predictions", ["user_id"], postgresql_where=sa.text(WAITING)
    )
    op.drop_index("predictions_in_turn", table_name="predictions")
    op.drop_index("users_weighted", table_name="users")
    op.drop_column("users", "weight")
    op.drop_column("users", "highest_priority")
    op.drop_column("predictions", "priority")
