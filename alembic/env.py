"""Runs migrations against DATABASE_URL, or the URL that `app.db.migrate` passes in."""

from alembic import context
from app.db.migrate import limit_lock_waits, wait_for_lock
from app.db.session import connect
from app.db.tables import Base
from app.settings import load

MIGRATION_MS = 600_000


def main() -> None:
    url = context.config.get_main_option("sqlalchemy.url") or load().database_url
    engine = connect(url, pool=1, application="lovage-migrate", statement_ms=MIGRATION_MS)
    with engine.connect() as connection, wait_for_lock(connection):
        limit_lock_waits(connection)
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            compare_type=True,
            transaction_per_migration=True,  # some build an index beside the work, outside of any transaction
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()


main()
