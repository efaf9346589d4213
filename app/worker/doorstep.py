"""Where Celery's consumer meets the intake and the courier: a message rings the bell instead of occupying a thread of the
pool, and Celery leaves messages in Redis while those take them in bulk. Uses Celery's own points of extension:
`Task.Strategy`, a consumer step, and the inspect commands."""

import contextlib
import os
from collections.abc import Callable
from types import MethodType
from typing import Any, ClassVar, Protocol

from celery import Celery, Task, bootsteps
from celery.utils.log import get_logger
from celery.worker.control import inspect_command

from app.queue import names
from app.worker.run import Run

logger = get_logger(__name__)


class Door(Protocol):
    """Who is rung at. Celery reads no further messages while it is `occupied`, and is told by `on_idle` to read again."""

    on_idle: Callable[[], None]

    @property
    def occupied(self) -> bool: ...

    def heard(self, message_id: str, /) -> None: ...


def attach(app: Celery, task: str, door: Door) -> None:
    """Makes messages of this task a doorbell. Before the worker starts."""
    app.task(name=task, Strategy=staticmethod(ring(door)), ignore_result=True, base=Task)(door.heard)
    app.steps["consumer"].add(step(door))


def ring(door: Door) -> Callable[..., Any]:
    """A task strategy that acknowledges at once and passes the id on."""

    def strategy(task: Task, app: Celery, consumer: Any, **_: Any) -> Callable[..., None]:
        def on_message(message: Any, body: Any, ack: Callable[..., None], *_: Any, **__: Any) -> None:
            ack(logger, consumer.connection_errors)
            door.heard(message.headers["id"])

        return on_message

    return strategy


def step(door: Door) -> type[bootsteps.StartStopStep]:
    """Stops the consumer's reading while the door is occupied, and wakes its loop when it is free again."""

    class Doorstep(bootsteps.StartStopStep):  # type: ignore[misc]
        requires: ClassVar = {"celery.worker.consumer.tasks:Tasks"}

        def start(self, consumer: Any) -> None:
            qos = consumer.task_consumer.channel.qos
            allowed = qos.can_consume
            qos.can_consume = MethodType(lambda _: not door.occupied and allowed(), qos)
            reader, writer = os.pipe()
            os.set_blocking(reader, False)
            os.set_blocking(writer, False)
            self._ends = (reader, writer)
            consumer.hub.add_reader(reader, lambda: drain(reader))
            door.on_idle = lambda: nudge(writer)

        def stop(self, consumer: Any) -> None:
            door.on_idle = lambda: None
            with contextlib.suppress(Exception):
                consumer.hub.remove(self._ends[0])
            for end in self._ends:
                with contextlib.suppress(OSError):
                    os.close(end)

    return Doorstep


def drain(reader: int) -> None:
    """The loop has woken; what is in the pipe has done its work."""
    with contextlib.suppress(OSError):
        os.read(reader, 4096)


def nudge(writer: int) -> None:
    """Wakes the loop; a full pipe means that it is about to wake anyway."""
    with contextlib.suppress(OSError):
        os.write(writer, b"!")


def show_active(running: dict[str, Run]) -> None:
    """`celery inspect active` and Flower's worker page list what runs here, though no pool thread is occupied by it."""

    @inspect_command(name="active", alias="dump_active")  # type: ignore[untyped-decorator]
    def active(state: Any, **_: Any) -> list[dict[str, Any]]:
        return [
            {
                "id": run.prediction.id, "name": names.TASK_PREDICT, "type": names.TASK_PREDICT, "args": [run.prediction.id],
                "kwargs": {}, "hostname": state.hostname, "acknowledged": True, "worker_pid": os.getpid(),
                "time_start": run.prediction.started_at and run.prediction.started_at.timestamp(),
                "delivery_info": {"routing_key": run.prediction.queue},
            }
            for run in list(running.values())
        ]  # fmt: skip
