"""Time limits of what a process runs: which items ran too long, which do not heed a cancel, whether nothing
moves. Pure: times are given, nobody is killed here."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.engine.work_items import WorkItem

# A model process without a sign of life for so long is said to be unresponsive. It gives one every second.
UNRESPONSIVE_SECONDS = 5.0
# An item that timed out in a group so often is at fault itself.
GROUP_TIMEOUTS = 2


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `setup`: longest load; `cancel`: given to a running item to stop; `stall`: without an event
    while items wait and none runs; `silence`: without a sign of life; `evict`: given to a process to end by
    itself; `keep_alive`: idle time before unloading (0: never)."""

    setup: float = 600.0
    cancel: float = 3.0
    stall: float = 60.0
    silence: float = 30.0
    evict: float = 2.0
    keep_alive: float = 0.0


def is_idle(idle: float, keep_alive: float | None, timeouts: Timeouts) -> bool:
    """Whether a model that nobody has used for `idle` seconds is to be unloaded. Its version's own
    `keep_alive` (0: as soon as nothing waits, negative: never) goes before the worker's."""
    if keep_alive is not None:
        return 0 <= keep_alive < idle
    return 0 < timeouts.keep_alive < idle


@dataclass(slots=True)
class Actions:
    """What to do now. `stop`: these have reached their limit and are asked to end by themselves; `timed_out`
    and `canceled` get their endings; `isolate` these in smaller groups; `kill` the process, `intended` or
    because it hangs, with the `reason` (which then counts as its death)."""

    stop: list[WorkItem] = field(default_factory=list)
    timed_out: list[WorkItem] = field(default_factory=list)
    canceled: list[WorkItem] = field(default_factory=list)
    isolate: list[WorkItem] = field(default_factory=list)
    kill: bool = False
    intended: bool = True
    reason: str = ""


def check(
    items: Sequence[WorkItem], now: float, last_event_at: float, timeouts: Timeouts, silence: float = 0.0
) -> Actions:
    """`now` and `last_event_at` (of the process) in monotonic seconds; `silence`: how long it has given no
    sign of life."""
    if silence > timeouts.silence:
        return Actions(kill=True, intended=False, reason=f"it gave no sign of life for {silence:.0f} s")
    actions = Actions()
    running = [item for item in items if item.started_at]
    _time_out(running, now, timeouts, actions)
    _stop_canceled(items, running, now, timeouts, actions)
    waiting = [item for item in items if item.sent and not item.started_at]
    if waiting and not running and _stalled_seconds(waiting, now, last_event_at) > timeouts.stall:
        actions.kill, actions.intended = True, False
        actions.reason = f"it has begun nothing for {timeouts.stall:g} s"
    return actions


def _stalled_seconds(waiting: Sequence[WorkItem], now: float, last_event_at: float) -> float:
    """Without an event while these wait."""
    return now - max(last_event_at, *(item.accepted_at + item.load_seconds for item in waiting))


def _time_out(running: Sequence[WorkItem], now: float, timeouts: Timeouts, actions: Actions) -> None:
    """A late item is asked to stop; the process is killed only when that is not heeded, because its
    neighbours would start over.

    One alone that does not heed it is at fault. Several at once are a batch that hangs because of one of
    them: run in smaller groups.
    """
    late = [item for item in running if 0 < item.work.timeout < now - item.started_at]
    actions.stop = [item for item in late if not item.late_at]
    stuck = [item for item in late if item.late_at and now - item.late_at > timeouts.cancel]
    actions.kill = bool(stuck)
    for item in stuck:
        alone = len(stuck) == 1 or item.deaths >= GROUP_TIMEOUTS
        (actions.timed_out if alone else actions.isolate).append(item)


def _stop_canceled(
    items: Sequence[WorkItem], running: Sequence[WorkItem], now: float, timeouts: Timeouts, actions: Actions
) -> None:
    """The caller is answered anyhow; the process is only killed when nobody else is in its batch."""
    unresponsive = [item for item in items if item.cancel_at and now - item.cancel_at > timeouts.cancel]
    actions.canceled = [item for item in unresponsive if item not in actions.timed_out]
    if any(item.started_at for item in unresponsive) and all(item in unresponsive for item in running):
        actions.kill = True
