"""Runs Celery's worker in the process's main thread, and ends the process in order at a stop
signal."""

import gc
import os
import threading
import warnings
from collections.abc import Callable, Sequence

import structlog
from celery import Celery, signals
from celery.platforms import SecurityWarning

log = structlog.get_logger(__name__)

POOL_THREADS = (
    2  # only sweeps run on them: predictions and deliveries never hold a thread of the pool (see `consumer`)
)


def serve(
    app: Celery, queues: Sequence[str], hostname: str, drain: Callable[[], None], log_level: str
) -> None:
    """A stop signal drains beside it; the process ends when draining has. Does not return."""
    started = threading.Event()

    def stop(**_: object) -> None:
        if not started.is_set():
            started.set()
            threading.Thread(target=_drain_and_exit, args=(drain,), name="drain").start()

    # Lovage runs as root on a developer's machine or in a container; Celery's advice is in the docs, not in
    # every log.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    signals.worker_shutting_down.connect(stop, weak=False)
    gc.freeze()  # as in the API (main.py)
    worker = app.Worker(
        hostname=hostname,
        pool="threads",
        concurrency=POOL_THREADS,
        queues=list(queues),
        loglevel=log_level.upper(),
        without_gossip=True,
        without_mingle=True,
        task_events=True,
        optimization="fair",
        quiet=True,
    )
    worker.start()
    stop()
    threading.Event().wait()


def _drain_and_exit(drain: Callable[[], None]) -> None:
    """The pool's threads cannot be ended from outside, so the process ends by force once everything is
    written."""
    code = 0
    try:
        drain()
    except Exception:  # whatever it is, the process must end
        log.exception("drain_failed")
        code = 1
    os._exit(code)
