"""Runs Celery's beat in this process: it publishes the sweep's message again and again."""

from app.broker.celery_app import make_celery


def serve_clock(redis_url: str, *, sweep_seconds: float, log_level: str) -> None:
    """Does not return. `log_level` as in the settings, in lower case."""
    make_celery(redis_url, sweep_seconds=sweep_seconds).Beat(
        scheduler_cls="celery.beat:Scheduler", loglevel=log_level.upper(), quiet=True
    ).run()
