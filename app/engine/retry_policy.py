"""What follows a process's death: what runs again and with whom, and when a version, or a caller of it, is
given a pause.

Pure: times are given. The items of a process that died come back together: most deaths are of the process,
not of an input. Should the next one die as well, they are run in halves, then one by one, so that the poison
input fails alone. Such a death is its caller's: five in a minute, and the version takes nothing of this
caller for 5 s, then for twice as long, up to 5 min. The version itself is unhealthy after five deaths in a
minute without a success between them, that are nobody's in particular or of several callers, and after three
failed loads in a row: after these and after any failed load nothing is started for as long; then a load is
tried.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

T = TypeVar("T")

LOOP_DEATHS, LOOP_SECONDS = 5, 60.0
FAILED_LOADS = 3  # one may be a moment's trouble: a full disk, no memory beside other models
# A version that nobody has asked for so long is not tried again by itself.
PROBE_SECONDS = 600.0
BACKOFF_SECONDS, BACKOFF_MOST_SECONDS = 5.0, 300.0
# An item that was sent to so many processes that died is no bystander: its preparation may be what kills.
BYSTANDER_DEATHS = 5
# An item that has gone on for so long since its process began with it is not what killed the one before.
PROVEN_SECONDS = 5.0
# Callers whose inputs were blamed in turn: then it may be the version.
SEVERAL_CALLERS = 2
# Times an item is sent again at most, for whatever reason of its own process.
MOST_RESENDS = 8
# Who was interrupted so often because of neighbours' time limits is shielded from new neighbours: a caller
# who sends short timeouts to a model that does not heed them would otherwise keep all others from ending.
MOST_INTERRUPTIONS = 3


def isolation_groups(items: Sequence[T], deaths: int) -> list[list[T]]:
    """Groups to be run by themselves, after their `deaths`-th death together: halves first, then everyone
    alone."""
    if deaths <= 1 and len(items) > 2:
        middle = (len(items) + 1) // 2
        return [list(items[:middle]), list(items[middle:])]
    return [[item] for item in items]


@dataclass(frozen=True, slots=True)
class Death:
    """When a process died, in seconds, and whose input did it, alone in the process ("": nobody knows)."""

    at: float
    caller: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """A version's recent deaths, why it is not started before `until` (seconds; 0: it is well), how often it
    backed off in a row, and whether new predictions should be refused."""

    deaths: tuple[Death, ...] = ()
    succeeded: bool = True
    backoffs: int = 0
    until: float = 0.0
    reason: str = ""
    unhealthy: bool = False

    def blocked(self, now: float) -> bool:
        return now < self.until


def after_death(health: Health, death: Death, reason: str, *, isolated: bool) -> Health:
    """A death. Of `isolated` items it counts only when nothing has succeeded since the last one.

    Otherwise one poison input among 32, whose search costs four deaths, would close its model for everybody.
    """
    recent = tuple(each for each in health.deaths if death.at - each.at < LOOP_SECONDS)
    if death.caller or not (isolated and health.succeeded):
        recent = (*recent, death)
    health = replace(health, deaths=recent, succeeded=False)
    if _count(recent) < LOOP_DEATHS:
        return health
    looping = replace(health, deaths=(), unhealthy=True)
    return _back_off(looping, death.at, f"its process died {LOOP_DEATHS} times in a minute; last: {reason}")


def _count(deaths: Sequence[Death]) -> int:
    """Of these, as many as speak against the version: nobody can close it for others by crashing it on
    purpose."""
    callers = {death.caller for death in deaths} - {""}
    return len([death for death in deaths if not death.caller or len(callers) >= SEVERAL_CALLERS])


def after_blame(health: Health, suspected_at: Sequence[float]) -> Health:
    """An item was found to be the cause: the deaths that it was suspected of before are its own, too."""
    return replace(health, deaths=tuple(death for death in health.deaths if death.at not in suspected_at))


def after_failed_load(health: Health, now: float, reason: str) -> Health:
    unhealthy = health.unhealthy or health.backoffs + 1 >= FAILED_LOADS
    return _back_off(replace(health, unhealthy=unhealthy), now, reason)


def after_load(health: Health) -> Health:
    """It is healthy again; should it go on dying, it backs off for longer than before."""
    return replace(health, until=0.0, reason="", unhealthy=False)


def after_success(health: Health) -> Health:
    """An item has succeeded: this is no version that only dies, whatever killed its processes before (too
    little memory, an operator), and the next failure backs off from the beginning again."""
    return Health()


def _back_off(health: Health, now: float, reason: str) -> Health:
    seconds = min(BACKOFF_SECONDS * 2**health.backoffs, BACKOFF_MOST_SECONDS)
    return replace(health, backoffs=health.backoffs + 1, until=now + seconds, reason=reason)
