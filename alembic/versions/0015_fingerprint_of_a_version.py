"""What a version's source held when it was registered, compared at each load; empty for those before."""

import sqlalchemy as sa

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "versions", sa.Column("fingerprint", sa.String(length=64), server_default="", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("versions", "fingerprint")
