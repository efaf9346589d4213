"""Where Celery's consumer meets the intake and the courier: a message rings the bell instead of occupying a thread of the
pool, and Celery leaves messages in Redis while those take them in bulk. Uses Celery's own points of extension:
`Task.Strategy`, a consumer step, and the inspect commands."""

import contextlib
import os
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any, ClassVar, Protocol

from celery import Celery, Task, bootsteps
from celery.worker.control import inspect_command
from kombu import Exchange, Queue

from app.queue import names
from app.worker.run import Run


class Door(Protocol):
    """Who is rung at. Celery reads no further messages while it is `occupied`, and is told by `on_idle` to read again."""

    on_idle: Callable[[], None]

    @property
    def occupied(self) -> bool: ...

    def heard(self, message_id: str, /) -> None: ...


def attach(app: Celery, task: str, door: Door, queues: Sequence[str]) -> None:
    """Makes messages of this task a doorbell, wherever they come from of these queues. Before the worker starts.

    A bell needs no acknowledgement: without it kombu keeps no books of messages under way (three round trips for each).
    """
    app.conf.task_queues = [Queue(name, Exchange(name), name, no_ack=True) for name in queues]
    app.task(name=task, Strategy=staticmethod(ring(door)), ignore_result=True, base=Task)(door.heard)
    app.steps["consumer"].add(step(door))


def ring(door: Door) -> Callable[..., Any]:
    """A task strategy that passes the id on and is done."""

    def strategy(task: Task, app: Celery, consumer: Any, **_: Any) -> Callable[..., None]:
        def on_message(message: Any, *_: Any, **__: Any) -> None:
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
