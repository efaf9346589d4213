"""Makes a database ready: migrations, the first administrator with an API key, the demo models. Safe to run
again.

Reads DATABASE_URL, SECRET_KEY and LOVAGE_DATA_DIR, as every process of Lovage does. The key is written to
LOVAGE_DATA_DIR/key, the administrator's password to LOVAGE_DATA_DIR/admin-password.
"""

import argparse

from app.cli.bootstrapping import bootstrap
from app.db import migrate
from app.settings import load


def main() -> None:
    """Runs both steps, or the migrations alone."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--migrations-only", action="store_true", help="leave accounts and models alone")
    arguments = parser.parse_args()
    settings = load()
    migrate.upgrade(settings.database_url)
    if not arguments.migrations_only:
        bootstrap(settings)
    print("The database is ready.")


if __name__ == "__main__":
    main()
