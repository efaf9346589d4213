"""`rung_at` is called `notified_at`: when a message about the prediction was last sent.

Renaming is instant, whatever the table holds. Processes of the release before cannot write to the renamed
column: stop them first.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.alter_column("predictions", "rung_at", new_column_name="notified_at")
    op.execute("ALTER INDEX predictions_unrung RENAME TO predictions_unnotified")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("ALTER INDEX predictions_unnotified RENAME TO predictions_unrung")
    op.alter_column("predictions", "notified_at", new_column_name="rung_at")
