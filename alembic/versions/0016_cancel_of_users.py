"""All predictions of a user can be canceled: up to which one, and whose cancels are not done yet."""

import sqlalchemy as sa

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("cancel_up_to", sa.String(length=26)))
    for name, column, where in (
        ("users_to_cancel", "id", "cancel_up_to IS NOT NULL"),
        ("users_disabled", "disabled_at", "disabled_at IS NOT NULL"),
    ):
        op.create_index(name, "users", [column], postgresql_where=sa.text(where))


def downgrade() -> None:
    op.drop_index("users_disabled", table_name="users")
    op.drop_index("users_to_cancel", table_name="users")
    op.drop_column("users", "cancel_up_to")
