"""Long inputs and outputs are files that their rows name; rows say how large they are; webhooks that are
done are found by their age.

The columns are there at once, whatever the table holds. The indexes are built beside the work. Tables whose
rows are updated two or three times each are vacuumed when a fiftieth of them has changed, not a fifth.
"""

import sqlalchemy as sa

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

COLUMNS = {
    "input_bytes": sa.Integer(),
    "output_bytes": sa.Integer(),
    "input_key": sa.Text(),
    "output_key": sa.Text(),
}
INDEXES = (
    ("predictions_by_input", "predictions", "input_key", "input_key IS NOT NULL"),
    (
        "predictions_inputs_to_delete",
        "predictions",
        "input_key",
        "input_key IS NOT NULL AND data_removed_at IS NOT NULL",
    ),
    ("deliveries_done", "deliveries", "created_at", "next_at IS NULL"),
)
VACUUM = (
    "autovacuum_vacuum_scale_factor",
    "autovacuum_vacuum_insert_scale_factor",
    "autovacuum_analyze_scale_factor",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    for name, kind in COLUMNS.items():
        op.add_column("predictions", sa.Column(name, kind, nullable=True), if_not_exists=True)
    for table in ("predictions", "deliveries"):
        op.execute(f"ALTER TABLE {table} SET ({', '.join(f'{setting} = 0.02' for setting in VACUUM)})")
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        for name, table, column, where in INDEXES:
            # what is left of one that was interrupted
            op.drop_index(name, table_name=table, if_exists=True, postgresql_concurrently=True)
            condition = sa.text(where)
            op.create_index(name, table, [column], postgresql_where=condition, postgresql_concurrently=True)
        op.execute("SET lock_timeout = '10s'")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    for name, table, _, _ in INDEXES:
        op.drop_index(name, table_name=table)
    for table in ("predictions", "deliveries"):
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(VACUUM)})")
    for name in COLUMNS:
        op.drop_column("predictions", name)
