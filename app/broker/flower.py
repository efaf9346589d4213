"""Runs Flower, Celery's dashboard, in this process."""

import gc

from app.broker.celery_app import make_celery

MOST_TASKS = 2_000  # what happens now; what has happened is in Postgres
# Flower asks the workers for their queues once at its start, when there are none yet: its broker page then
# shows one queue for good.
FIRST_LOOK_SECONDS, LOOK_SECONDS = 10, 60


def serve_flower(redis_url: str, *, address: str, port: int, basic_auth: str) -> None:
    """Does not return. `basic_auth` is `user:password`."""
    arguments = [
        "flower",
        f"--port={port}",
        f"--address={address}",
        f"--basic-auth={basic_auth}",
        f"--max-tasks={MOST_TASKS}",
    ]
    _look_at_workers_again()
    celery = make_celery(redis_url)
    gc.freeze()  # the libraries stay: finished tasks are looked for, and found, without them
    celery.start(arguments)


def _look_at_workers_again() -> None:
    """Has the Flower that is started next ask the workers again and again."""
    from flower import command
    from tornado.ioloop import PeriodicCallback

    class LookingFlower(command.Flower):  # type: ignore[misc]
        def start_http_server(self) -> int | None:
            self.io_loop.call_later(FIRST_LOOK_SECONDS, self.update_workers)
            PeriodicCallback(self.update_workers, LOOK_SECONDS * 1000).start()
            port: int | None = super().start_http_server()
            return port

    command.Flower = LookingFlower
