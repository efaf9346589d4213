"""What the pages of the web app need: which version of a model is current, minutes of statistics, days of
usage, and a user's webhooks by time.

Adding the column is instant; filling it rewrites the versions, which are few.
"""

import sqlalchemy as sa

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
COUNTS = ("succeeded", "failed", "canceled")


def counts() -> list[sa.Column]:
    return [sa.Column(name, sa.Integer(), server_default="0", nullable=False) for name in COUNTS]


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    released = sa.Column("released_at", TIME, server_default=sa.func.now(), nullable=False)
    op.add_column("versions", released)
    op.execute("UPDATE versions SET released_at = created_at")
    op.create_table(
        "statistics_minutes",
        sa.Column("at", TIME, primary_key=True),
        sa.Column("user_id", sa.UUID(), primary_key=True),
        sa.Column("model", sa.String(129), primary_key=True),
        *counts(),
        sa.Column("device_seconds", sa.Float(), server_default="0", nullable=False),
        sa.Column("seconds", sa.dialects.postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
    )
    op.create_table(
        "usage_days",
        sa.Column("day", sa.Date(), primary_key=True),
        sa.Column("user_id", sa.UUID(), primary_key=True),
        sa.Column("model", sa.String(129), primary_key=True),
        *counts(),
        sa.Column("device_seconds", sa.Float(), server_default="0", nullable=False),
    )
    op.create_table(
        "queue_minutes",
        sa.Column("at", TIME, primary_key=True),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("running", sa.Integer(), nullable=False),
    )
    op.create_index("deliveries_by_user", "deliveries", ["user_id", "created_at", "id"])


def downgrade() -> None:
    op.drop_index("deliveries_by_user", table_name="deliveries")
    for table in ("queue_minutes", "usage_days", "statistics_minutes"):
        op.drop_table(table)
    op.drop_column("versions", "released_at")
