"""A submitted work item: what its caller holds (`Handle`) and what the engine remembers of it (`WorkItem`).

Plain state; knows frames, but no process and no lock.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.domain.raw_tensors import Buffer, buffers_of, describe
from app.domain.work import (
    Canceled,
    Chunk,
    Delivered,
    Event,
    Failed,
    Finished,
    Log,
    Restarted,
    Started,
    Work,
)
from app.engine.frames import encode, encode_with

# Called by the engine's threads with a lock held: it must neither block nor raise. Exactly one ending event
# comes (`domain.work.END`), and it is the last.
Sink = Callable[[Event], None]


# Of a group's name: it may join those that have proven not to be at fault.
HALF = "half-"


class Handle:
    """The caller's end: every event goes to the sink."""

    __slots__ = ("_cancel", "id", "put")

    def __init__(self, work_id: str, sink: Sink) -> None:
        self.id = work_id
        self.put = sink
        self._cancel: Callable[[], None] = _nothing

    def cancel(self) -> None:
        """Asks for the end: at once when it waits, at the next step when it runs, by force when that is not
        heeded.

        It may still finish first. Any number of calls, from any thread, at any time.
        """
        self._cancel()

    def on_cancel(self, cancel: Callable[[], None]) -> None:
        """The engine's side."""
        self._cancel = cancel

    def end(self, event: Event) -> None:
        """The last event. From then on it leads to nothing: the item with its input, and whoever waited for
        it, are held by nobody, where each would wait in a circle for the garbage collector, which runs
        seldom."""
        put, self.put = self.put, _pass_over
        self._cancel = _nothing
        put(event)


def _nothing() -> None:
    """The engine does not have it yet, or no more."""


def _pass_over(event: Event) -> None:
    """It has ended."""


@dataclass(slots=True, eq=False)
class WorkItem:
    """One item's way through the engine. Guarded by its supervisor's lock. Times are monotonic seconds, 0.0:
    not yet.

    `deaths` counts processes that died while running it, since it was last found not to be at fault
    (`is_proven`: it has gone on for a while in this process); `suspected_at`: when such processes died, ever.
    `resends` counts all that it outlived, but for those that
    were killed because of a neighbour's time limit: these are `interruptions`. `late_at`: when it was asked
    to stop because its own limit was reached. `delivered`: the chunks that its caller has. A run that follows
    another goes on behind them or repeats them: of its first `seen` chunks only the others are passed on, and
    when one of them is another than before, the caller gets `Restarted`.
    """

    work: Work
    wire_id: str
    handle: Handle
    accepted_at: float = field(default_factory=time.monotonic)
    load_seconds: float = 0.0
    sent: bool = False
    started_at: float = 0.0
    cancel_at: float = 0.0
    late_at: float = 0.0
    deaths: int = 0
    suspected_at: tuple[float, ...] = ()
    resends: int = 0
    interruptions: int = 0
    isolation_group: str = ""
    is_proven: bool = False
    announced: bool = False
    delivered: Delivered = field(init=False)
    seen: int = 0

    def __post_init__(self) -> None:
        self.delivered = self.work.delivered.copy() if self.work.delivered else Delivered()

    def pass_on(self, event: Event) -> None:
        """An event that is no ending, to the caller; what a former run said already is left out."""
        if isinstance(event, Chunk):
            self._pass_chunk(event)
            return
        if isinstance(event, Started):
            self.started_at, self.seen = time.monotonic(), event.continued
            self.is_proven = False
            if self.announced:
                return
            self.announced = True
        elif not isinstance(event, Log) and self._is_repeating:
            return
        self.handle.put(event)

    @property
    def _is_repeating(self) -> bool:
        return self.seen < len(self.delivered)

    def _pass_chunk(self, chunk: Chunk) -> None:
        if self._is_repeating:
            if self.delivered.chunks[self.seen] == chunk.data:
                self.delivered.states[self.seen] = chunk.state
                self.seen += 1
                return
            self._restart()
        self.delivered.add(chunk)
        self.seen += 1
        self.handle.put(chunk)

    def _restart(self) -> None:
        """What was delivered and is not part of this run is void."""
        self.delivered.cut(self.seen)
        self.handle.put(Restarted())
        for chunk in self.delivered.as_chunks():
            self.handle.put(chunk)

    def put_end(self, event: Event) -> None:
        """Every ending but `Crashed` says where the time went, also one that did not come from the model
        process."""
        if isinstance(event, Finished) and self._is_repeating:
            self._restart()
        if isinstance(event, Finished | Failed | Canceled) and "run" not in event.metrics:
            event = replace(event, metrics={**event.metrics, **self.phase_seconds(time.monotonic())})
        self.handle.end(event)

    def phase_seconds(self, now: float) -> dict[str, float]:
        """Seconds since the engine took the item, without gaps, for an ending of which the model process said
        nothing."""
        total = now - self.accepted_at
        if not self.sent:  # the model was not there for it yet
            return {"load": round(total, 6), "tokenise": 0.0, "batch_wait": 0.0, "run": 0.0}
        run = now - self.started_at if self.started_at else 0.0
        wait = max(0.0, total - self.load_seconds - run)
        return {
            "load": round(self.load_seconds, 6),
            "tokenise": 0.0,
            "batch_wait": round(wait, 6),
            "run": round(run, 6),
        }

    def reset(self) -> None:
        """Back to waiting: its process is gone."""
        self.sent = False
        self.started_at = self.late_at = 0.0
        self.seen = 0

    def timeout_failure(self, metrics: dict[str, Any] | None = None) -> Failed:
        """The ending of one that ran longer than its limit."""
        return Failed(
            f"it ran longer than its limit of {self.work.timeout:g} s", "run_timeout", metrics or {}
        )

    def frame(self) -> list[Buffer]:
        """The `work` message, in pieces. Raises TypeError when the input is not JSON."""
        work, delivered = self.work, self.delivered
        message = [
            "work",
            self.wire_id,
            work.input,
            work.folder,
            [delivered.chunks, delivered.states] if delivered.can_be_continued else None,
            self.accepted_at,
            self.load_seconds,
            "" if self.isolation_group.startswith(HALF) else self.isolation_group,
            work.rank,
        ]
        if work.tensors is None:
            return [encode(message)]
        return encode_with([*message, describe(work.tensors)], buffers_of(work.tensors))


def refuse(items: Sequence[WorkItem], failure: Failed) -> None:
    """The ending of items that the engine does not take."""
    for item in items:
        item.handle.end(failure)


def encode_items(items: Sequence[WorkItem]) -> tuple[list[Buffer], list[tuple[WorkItem, str]]]:
    """The messages that give these items to a model process, and those whose input is not JSON, with the
    reason.

    Who was canceled just now is canceled there, too: that message may have overtaken the item's own.
    """
    frames: list[Buffer] = []
    refused: list[tuple[WorkItem, str]] = []
    canceled: list[Buffer] = []
    for item in items:
        try:
            frames += item.frame()
        except TypeError as error:
            refused.append((item, str(error)))
        if item.cancel_at:
            canceled.append(encode(["cancel", item.wire_id]))
    return frames + canceled, refused
