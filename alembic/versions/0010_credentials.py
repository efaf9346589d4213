"""Credentials that can be changed, users that can be deleted: an epoch for tokens, a second webhook secret, a
key for links to files.

Links to files that were signed with the webhook secret end: every user gets a key of its own for them. The
table of users is small, so that writing it anew takes a moment; it is locked meanwhile.
"""

import sqlalchemy as sa

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

NEW_FILE_KEY = "'lfk_' || encode(sha256((gen_random_uuid()::text || gen_random_uuid()::text)::bytea), 'hex')"
COLUMNS = (
    "previous_webhook_secret",
    "previous_webhook_secret_until",
    "file_key",
    "token_epoch",
    "deleted_at",
    "purge_after",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    time = sa.DateTime(timezone=True)
    op.add_column("users", sa.Column("previous_webhook_secret", sa.Text()))
    op.add_column("users", sa.Column("previous_webhook_secret_until", time))
    new_key = sa.text(NEW_FILE_KEY)
    op.add_column("users", sa.Column("file_key", sa.Text(), nullable=False, server_default=new_key))
    op.add_column("users", sa.Column("token_epoch", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("users", sa.Column("deleted_at", time))
    op.add_column("users", sa.Column("purge_after", sa.String(26)))
    op.create_index("users_to_purge", "users", ["id"], postgresql_where=sa.text("purge_after IS NOT NULL"))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.drop_index("users_to_purge", table_name="users")
    for name in COLUMNS:
        op.drop_column("users", name)
