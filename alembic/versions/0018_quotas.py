"""Quotas in bytes: how much of each user is kept, what a prediction's output files take, and how large the
files of a version's source are.

Counting what is there reads the predictions once, beside the work of others; on a table of many millions it
takes minutes. Sources of versions that exist are not measured again: they count as nothing."""

import sqlalchemy as sa

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

BYTES = "coalesce(input_bytes, 0)::bigint + coalesce(output_bytes, 0)"
HAS_DATA = "completed_at IS NOT NULL AND data_removed_at IS NULL"
NOBODY = "00000000-0000-0000-0000-000000000000"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.add_column("predictions", sa.Column("file_bytes", sa.BigInteger(), nullable=True))
    op.add_column("versions", sa.Column("source_bytes", sa.BigInteger(), nullable=True))
    op.create_table(
        "storage_use",
        sa.Column("user_id", sa.UUID(), primary_key=True),
        sa.Column("upload_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("prediction_bytes", sa.BigInteger(), server_default="0", nullable=False),
    )
    op.execute(
        "INSERT INTO platform_facts (name, value)"
        " VALUES ('storage_counted', jsonb_build_object('until', now()))"
    )
    op.execute(f"""
        INSERT INTO storage_use (user_id, prediction_bytes)
        SELECT coalesce(user_id, '{NOBODY}'), sum({BYTES}) FROM predictions
        WHERE {HAS_DATA} AND completed_at < now() GROUP BY 1""")
    op.execute("""
        INSERT INTO storage_use AS u (user_id, upload_bytes)
        SELECT user_id, sum(size) FROM files WHERE user_id IS NOT NULL GROUP BY 1
        ON CONFLICT (user_id) DO UPDATE SET upload_bytes = excluded.upload_bytes""")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("DELETE FROM platform_facts WHERE name = 'storage_counted'")
    op.drop_table("storage_use")
    op.drop_column("versions", "source_bytes")
    op.drop_column("predictions", "file_bytes")
