"""How many predictions each model has had is written down minute by minute, not counted in the whole table.

Counting what is there reads the predictions once, beside the work of others. What ended after the last
minute of the statistics is counted with its minute.
"""

import sqlalchemy as sa

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_runs",
        sa.Column("model", sa.String(length=129), primary_key=True),
        sa.Column("runs", sa.BigInteger(), nullable=False),
    )
    op.execute("""
        INSERT INTO model_runs (model, runs)
        SELECT model, count(*) FROM predictions
        WHERE completed_at < (
            SELECT coalesce(max(at) + interval '1 min', date_trunc('minute', now()) - interval '1 min')
            FROM queue_minutes)
        GROUP BY 1""")


def downgrade() -> None:
    op.drop_table("model_runs")
