"""Celery's consumer with a sink of our own: a message is handed to the intake or the courier instead of
occupying a thread of the pool, and Celery leaves messages in Redis while those read them in bulk. Uses
Celery's own points of extension: `Task.Strategy`, a consumer step, and the inspect commands."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from types import MethodType
from typing import Any, ClassVar, Protocol

import structlog
from celery import Celery, Task, bootsteps
from celery.worker.control import control_command, inspect_command
from kombu import Exchange, Queue

from app.broker import names
from app.domain.errors import LovageError
from app.domain.predictions import Prediction, is_id

log = structlog.get_logger(__name__)


class MessageSink(Protocol):
    """Takes messages' ids. Celery reads no further messages while it `is_reading` them itself; it calls
    `on_idle` for Celery to go on."""

    on_idle: Callable[[], None]

    @property
    def is_reading(self) -> bool: ...

    def on_message(self, message_id: str, /) -> None: ...


def attach(app: Celery, task: str, sink: MessageSink, queues: Sequence[str]) -> None:
    """Sends messages of this task, from any of these queues, to the sink. Before the worker starts.

    They need no acknowledgement: without it kombu keeps no books of messages under way (three round trips for
    each).
    """
    app.conf.task_queues = [Queue(name, Exchange(name), name, no_ack=True) for name in queues]
    strategy = staticmethod(sink_strategy(sink))
    app.task(name=task, Strategy=strategy, ignore_result=True, base=Task, shared=False)(sink.on_message)
    app.steps["consumer"].add(pause_step(sink))


def sink_strategy(sink: MessageSink) -> Callable[..., Any]:
    """A task strategy that passes the id on and is done."""

    def strategy(task: Task, app: Celery, consumer: Any, **_: Any) -> Callable[..., None]:
        def on_message(message: Any, *_: Any, **__: Any) -> None:
            sink.on_message(message.headers["id"])

        return on_message

    return strategy


def pause_step(sink: MessageSink) -> type[bootsteps.StartStopStep]:
    """Stops the consumer's reading while the sink reads, and wakes its loop when it is to go on."""

    class PauseStep(bootsteps.StartStopStep):  # type: ignore[misc]
        requires: ClassVar = {"celery.worker.consumer.tasks:Tasks"}

        def start(self, consumer: Any) -> None:
            qos = consumer.task_consumer.channel.qos
            allowed = qos.can_consume
            qos.can_consume = MethodType(lambda _: not sink.is_reading and allowed(), qos)
            reader, writer = os.pipe()
            os.set_blocking(reader, False)
            os.set_blocking(writer, False)
            self._ends = (reader, writer)
            consumer.hub.add_reader(reader, lambda: drain(reader))
            sink.on_idle = lambda: wake(writer)

        def stop(self, consumer: Any) -> None:
            sink.on_idle = lambda: None
            with contextlib.suppress(Exception):
                consumer.hub.remove(self._ends[0])
            for end in self._ends:
                with contextlib.suppress(OSError):
                    os.close(end)

    return PauseStep


def drain(reader: int) -> None:
    """The loop has woken; what is in the pipe has done its work."""
    with contextlib.suppress(OSError):
        os.read(reader, 4096)


def wake(writer: int) -> None:
    """Wakes the loop; a full pipe means that it is about to wake anyway."""
    with contextlib.suppress(OSError):
        os.write(writer, b"!")


def show_active(running: Callable[[], Iterable[Prediction]]) -> None:
    """`celery inspect active` and Flower's worker page list what runs here, though no pool thread is occupied
    by it."""

    @inspect_command(name="active", alias="dump_active")  # type: ignore[untyped-decorator]
    def active(state: Any, **_: Any) -> list[dict[str, Any]]:
        return [as_active(prediction, state.hostname) for prediction in running()]


def cancel_revoked(cancel: Callable[[list[str]], object]) -> None:
    """`celery control revoke` and `terminate`, and Flower's buttons, cancel predictions: `cancel` is called
    with their ids, on a thread of its own. Every process that is called does it: the second time it changes
    nothing."""

    def begin(task_id: str | Iterable[str]) -> dict[str, str]:
        named = [task_id] if isinstance(task_id, str) else [str(each) for each in task_id]
        ids = [each for each in named if is_id(each)]
        if ids:
            threading.Thread(target=_cancel, args=(cancel, ids), name="revoke", daemon=True).start()
        return {"ok": f"{len(ids)} predictions are being canceled"}

    @control_command(  # type: ignore[untyped-decorator]
        name="revoke", variadic="task_id", signature="[id1 [id2 …]]"
    )
    def revoke(state: Any, task_id: str | Iterable[str], **_: Any) -> dict[str, str]:
        return begin(task_id)

    @control_command(  # type: ignore[untyped-decorator]
        name="terminate", variadic="task_id", args=[("signal", str)], signature="<signal> [id1 [id2 …]]"
    )
    def terminate(state: Any, signal: str, task_id: str | Iterable[str], **_: Any) -> dict[str, str]:
        return begin(task_id)


def _cancel(cancel: Callable[[list[str]], object], ids: list[str]) -> None:
    try:
        cancel(ids)
    except LovageError as error:
        log.warning("revoke_failed", predictions=ids, reason=error.detail)
    else:
        log.info("revoked", predictions=ids)


def as_active(prediction: Prediction, hostname: str) -> dict[str, Any]:
    """A running prediction as Celery describes an active task."""
    return {
        "id": prediction.id,
        "name": names.TASK_PREDICT,
        "type": names.TASK_PREDICT,
        "args": [prediction.id],
        "kwargs": {},
        "hostname": hostname,
        "acknowledged": True,
        "worker_pid": os.getpid(),
        "time_start": prediction.started_at and prediction.started_at.timestamp(),
        "delivery_info": {"routing_key": prediction.queue},
    }
