"""The Celery application for operators: `celery -A app inspect ping | active | stats`, `celery -A app
control …`, `celery -A app events`.

The broker is REDIS_URL's, else that of the platform that `lovage up` runs in LOVAGE_DATA_DIR. Workers,
couriers and the clock make applications of their own; nothing imports this module but Celery's command line.
"""

from app import settings as settings_module
from app.broker.celery_app import make_celery
from app.local.platform_state import read_platform


def _broker_url() -> str:
    """Raises SystemExit with a sentence when there is no broker to speak to."""
    # Nothing of the platform's is signed here, so its secret need not be known.
    settings = settings_module.load_with({"LOVAGE_ENV": "development"})
    if settings.redis_url:
        return settings.redis_url
    if platform := read_platform(settings.lovage_data_dir):
        return platform.redis_url
    raise SystemExit(
        f"There is no broker: set REDIS_URL, or start `lovage up` (none runs in {settings.lovage_data_dir})."
    )


celery = make_celery(_broker_url())
