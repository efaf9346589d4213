"""The audit log, and an index that counts a user's waiting predictions."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=True),
        sa.Column("username", sa.String(length=320), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("details", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("audit_log_by_time", "audit_log", ["at"])
    op.create_index(
        "predictions_waiting_by_user",
        "predictions",
        ["user_id"],
        postgresql_where=sa.text("status = 'starting'"),
    )


def downgrade() -> None:
    op.drop_index("predictions_waiting_by_user", table_name="predictions")
    op.drop_index("audit_log_by_time", table_name="audit_log")
    op.drop_table("audit_log")
