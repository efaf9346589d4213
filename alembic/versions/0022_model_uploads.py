"""Models that are uploaded in parts."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, UUID

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_uploads",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("user_id", UUID(as_uuid=True), nullable=False),
        sa.Column("model", sa.String(129), nullable=False),
        sa.Column("files", JSONB(), nullable=False),
        sa.Column("content", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.UniqueConstraint("user_id", "model", "content", name="model_uploads_content"),
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_table("model_uploads", if_exists=True)
