"""Callers in this very process: what a run passes on to them, and what serves them. Knows no protocol."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import MappingProxyType
from typing import Protocol

from app.domain.predictions import Status
from app.domain.raw_tensors import RawTensors
from app.domain.work import Event


class Listener(Protocol):
    """Of one run. Called by the engine's and the writer's threads, which must not be kept waiting; never
    raises. `tensors`: as Work's. `opened`: of a prediction that runs before it is written, whether it was;
    None: it was written before."""

    @property
    def tensors(self) -> RawTensors | None: ...

    @property
    def opened(self) -> "Future[bool] | None": ...

    def on_event(self, event: Event) -> None:
        """As it comes, the ending one included."""

    def on_recorded(self, status: Status | None) -> None:
        """The end is in Postgres. None: it is not this worker's to record."""


def await_opened(listener: Listener | None) -> None:
    """Returns when the prediction is written, or will not be."""
    if listener and listener.opened:
        listener.opened.result()


def is_opened(listener: Listener | None) -> bool:
    """Whether the prediction is written."""
    opened = listener.opened if listener else None
    return opened is None or opened.done()


def once_opened(listener: Listener, step: Callable[[], object]) -> None:
    """Takes the step when the prediction is written, which it nearly always is."""
    if listener.opened is None:
        step()
    else:
        listener.opened.add_done_callback(lambda _: step())


Listeners = Mapping[str, Listener]  # by their predictions' ids
NOBODY: Listeners = MappingProxyType({})


class DirectServer(Protocol):
    """Serves callers that reach the worker itself. `start` once, then `refuse`, then `close`."""

    def start(self) -> None:
        """Serves from now on."""

    def refuse(self) -> None:
        """Nothing new is begun; what runs goes on."""

    def close(self) -> None:
        """Ends what is left."""
