"""What time has to say about a process's works: which ran too long, which do not heed a cancel, whether nothing
moves. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.engine.handle import Ticket

# A work that timed out in a group so often is at fault itself.
GROUP_TIMEOUTS = 2


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds. `setup`: longest load; `cancel`: given to a running work to stop; `stall`: silence while works wait
    and none runs; `evict`: given to a process to end by itself; `keep_alive`: idle time before unloading (0:
    never)."""

    setup: float = 600.0
    cancel: float = 3.0
    stall: float = 60.0
    evict: float = 2.0
    keep_alive: float = 0.0


def is_idle(idle: float, keep_alive: float | None, times: Times) -> bool:
    """Whether a model that nobody has used for `idle` seconds is to be unloaded. Its version's own `keep_alive` (0: as soon
    as nothing waits, negative: never) goes before the worker's."""
    if keep_alive is not None:
        return 0 <= keep_alive < idle
    return 0 < times.keep_alive < idle


@dataclass(slots=True)
class Verdict:
    """`timed_out` and `canceled` get their endings; `apart` are run in smaller groups; `kill` the process, `intended`
    or because it hangs (which then counts as its death)."""

    timed_out: list[Ticket] = field(default_factory=list)
    canceled: list[Ticket] = field(default_factory=list)
    apart: list[Ticket] = field(default_factory=list)
    kill: bool = False
    intended: bool = True


def judge(tickets: Sequence[Ticket], now: float, heard: float, times: Times) -> Verdict:
    """`heard` is when the process last said anything."""
    verdict = Verdict()
    running = [ticket for ticket in tickets if ticket.started]
    _time_out(running, now, verdict)
    _stop_canceled(tickets, running, now, times, verdict)
    waiting = [ticket for ticket in tickets if ticket.sent and not ticket.started]
    if waiting and not running and now - max(heard, *(ticket.at + ticket.load for ticket in waiting)) > times.stall:
        verdict.kill, verdict.intended = True, False
    return verdict


def _time_out(running: Sequence[Ticket], now: float, verdict: Verdict) -> None:
    """One alone is at fault. Several at once are a batch that hangs because of one of them: tried in smaller groups."""
    late = [ticket for ticket in running if 0 < ticket.work.timeout < now - ticket.started]
    if not late:
        return
    verdict.kill = True
    for ticket in late:
        alone = len(late) == 1 or ticket.deaths >= GROUP_TIMEOUTS
        (verdict.timed_out if alone else verdict.apart).append(ticket)


def _stop_canceled(tickets: Sequence[Ticket], running: Sequence[Ticket], now: float, times: Times, verdict: Verdict) -> None:
    """The caller is answered anyhow; the process is only killed when nobody else is in its batch."""
    deaf = [ticket for ticket in tickets if ticket.cancel_at and now - ticket.cancel_at > times.cancel]
    verdict.canceled = [ticket for ticket in deaf if ticket not in verdict.timed_out]
    if any(ticket.started for ticket in deaf) and all(ticket in deaf for ticket in running):
        verdict.kill = True
