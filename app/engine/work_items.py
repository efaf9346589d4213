"""A submitted work: what its caller holds (`Handle`) and what the engine remembers of it (`Ticket`)."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from queue import SimpleQueue

from app.domain.work import END, Canceled, Event, Failed, Finished, Work


class Handle:
    """The caller's end. `events` may be read by one thread, once; a handle with a `sink` passes each event to
    it instead.

    The sink is called by the engine's threads with a lock held: it must neither block nor raise.
    """

    def __init__(self, work_id: str, sink: Callable[[Event], None] | None = None) -> None:
        self.id = work_id
        self._events: SimpleQueue[Event] = SimpleQueue()
        self.put: Callable[[Event], None] = sink or self._events.put
        self._cancel: Callable[[], None] = lambda: None

    def events(self) -> Iterator[Event]:
        """Blocks for each event; exactly one ending event comes, and it is the last."""
        while True:
            event = self._events.get()
            yield event
            if isinstance(event, END):
                return

    def cancel(self) -> None:
        """Asks for the end: at once when it waits, at the next step when it runs, by force when it does not
        listen.

        It may still finish first. Any number of calls, from any thread, at any time.
        """
        self._cancel()

    def on_cancel(self, cancel: Callable[[], None]) -> None:
        """The engine's side."""
        self._cancel = cancel


@dataclass(slots=True, eq=False)
class WorkItem:
    """One work's way through the engine. Guarded by its host's lock. Times are monotonic seconds, 0.0: not
    yet.

    `deaths` counts processes that died while running it, `resends` all that it outlived. After a restart its
    stream begins anew: of `seen` chunks of this run only those beyond the `delivered` ones are passed on.
    """

    work: Work
    wire_id: str
    handle: Handle
    at: float = field(default_factory=time.monotonic)
    load: float = 0.0
    sent: bool = False
    started: float = 0.0
    cancel_at: float = 0.0
    deaths: int = 0
    resends: int = 0
    isolation_group: str = ""
    announced: bool = False
    delivered: int = 0
    seen: int = 0

    def put_end(self, event: Event) -> None:
        """Every ending but `Crashed` says where the time went, also one that did not come from the model
        process."""
        if isinstance(event, Finished | Failed | Canceled) and "run" not in event.metrics:
            event = replace(event, metrics={**event.metrics, **self.spent(time.monotonic())})
        self.handle.put(event)

    def spent(self, now: float) -> dict[str, float]:
        """Seconds since the engine took the work, without gaps, for an end that the model process said
        nothing of."""
        whole = now - self.at
        if not self.sent:  # the model was not there for it yet
            return {"load": round(whole, 6), "tokenise": 0.0, "batch_wait": 0.0, "run": 0.0}
        run = now - self.started if self.started else 0.0
        wait = max(0.0, whole - self.load - run)
        return {
            "load": round(self.load, 6),
            "tokenise": 0.0,
            "batch_wait": round(wait, 6),
            "run": round(run, 6),
        }

    def reset(self) -> None:
        """Back to waiting: its process is gone."""
        self.sent, self.started, self.seen = False, 0.0, 0
        self.resends += 1
