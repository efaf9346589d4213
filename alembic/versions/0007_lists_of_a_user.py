"""Lists narrowed to an ended status or a model stay quick for a user with a million waiting predictions."""

import sqlalchemy as sa

from alembic import op

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None

ENDED = "status IN ('succeeded', 'failed', 'canceled')"


def upgrade() -> None:
    op.create_index(
        "predictions_ended_by_user",
        "predictions",
        ["user_id", "status", "id"],
        postgresql_where=sa.text(ENDED),
    )
    op.create_index("predictions_by_user_and_model", "predictions", ["user_id", "model", "id"])


def downgrade() -> None:
    op.drop_index("predictions_by_user_and_model", table_name="predictions")
    op.drop_index("predictions_ended_by_user", table_name="predictions")
