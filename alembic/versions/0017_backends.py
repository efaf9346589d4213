"""Backends: what runs versions elsewhere, and what gateway workers say of it. Two new tables."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "backends",
        sa.Column("id", sa.UUID(), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("credential", sa.LargeBinary()),
        sa.Column("options", postgresql.JSONB(), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("max_concurrency", sa.Integer(), nullable=False),
        sa.Column("silence_seconds", sa.Float(), nullable=False),
        sa.Column("draining", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("served", postgresql.JSONB(), nullable=False, server_default=sa.text("'[]'")),
        sa.Column("served_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_table(
        "backend_reports",
        sa.Column(
            "backend_id", sa.UUID(), sa.ForeignKey("backends.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("worker", sa.UUID(), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("report", postgresql.JSONB(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("backend_reports")
    op.drop_table("backends")
