"""Runs Celery's beat in this process: it publishes the sweep's message again and again."""

from collections.abc import Callable
from typing import Any

import structlog
from celery.beat import Scheduler, SchedulingError

from app.broker.celery_app import make_celery

log = structlog.get_logger(__name__)


class QuietScheduler(Scheduler):  # type: ignore[misc]
    """Says once that Redis takes nothing, not at each sweep with two tracebacks: workers sweep by themselves
    as well."""

    _failing = False

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            if not self._failing:
                log.warning("sweep_not_published", reason=str(error))
            self._failing = True
        else:
            if self._failing:
                log.info("sweep_published_again")
            self._failing = False


def serve_clock(
    redis_url: str, *, sweep_seconds: float, log_level: str, on_published: Callable[[], None]
) -> None:
    """Does not return. `log_level` as in the settings, in lower case; `on_published` is called after each
    sweep that Redis has taken."""

    class Clock(QuietScheduler):
        def apply_entry(self, entry: Any, producer: Any = None) -> None:
            super().apply_entry(entry, producer)
            if not self._failing:
                on_published()

    make_celery(redis_url, sweep_seconds=sweep_seconds).Beat(
        scheduler_cls=Clock, loglevel=log_level.upper(), quiet=True
    ).run()
