"""Runs Flower, Celery's dashboard, in this process."""

import gc

from app.broker.celery_app import make_celery

MOST_TASKS = 2_000  # what happens now; what has happened is in Postgres


def serve_flower(redis_url: str, *, address: str, port: int, basic_auth: str) -> None:
    """Does not return. `basic_auth` is `user:password`."""
    arguments = [
        "flower",
        f"--port={port}",
        f"--address={address}",
        f"--basic-auth={basic_auth}",
        f"--max-tasks={MOST_TASKS}",
    ]
    celery = make_celery(redis_url)
    gc.freeze()  # the libraries stay: finished tasks are looked for, and found, without them
    celery.start(arguments)
