"""`python -m app.cli.worker_health` exits with 0 when a worker of this host has sent a heartbeat lately: for
containers."""

import sys

from app.db import workers
from app.db.session import Database, connect
from app.domain.errors import Unavailable
from app.settings import load
from app.worker.heartbeat import this_host


def main() -> int:
    """0: a worker on this host lives."""
    settings = load()
    database = Database(connect(settings.database_url, pool=1, application="lovage-health"))
    try:
        with database.unit() as session:
            live = workers.live(session, settings.dead_after_seconds)
            return 0 if any(row.host == this_host() for row in live) else 1
    except Unavailable:
        return 1
    finally:
        database.close()


if __name__ == "__main__":
    sys.exit(main())
