"""Outputs are stored without compressing them: of a vector's digits it saves a fifth, for a quarter of
Postgres's time."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE predictions ALTER COLUMN output SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.execute("ALTER TABLE predictions ALTER COLUMN output SET STORAGE EXTENDED")
