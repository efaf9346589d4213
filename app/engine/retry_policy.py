"""What follows a process's death: what runs again and with whom, and when a version counts as unhealthy.

Pure: times are given. A batch of n that killed its process is tried again in halves, then one by one, so that
the poison input fails alone. Five deaths in a minute, or three failed loads in a row, make the version
unhealthy. After these and after any failed load nothing is started for 5 s, then twice as long, up to 5 min;
then a load is tried.
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
BYSTANDER_DEATHS = 3
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
class Health:
    """A version's recent deaths (seconds), why it is not started before `until` (0: it is well), how often it
    backed off in a row, and whether new predictions should be refused."""

    deaths: tuple[float, ...] = ()
    succeeded: bool = True
    backoffs: int = 0
    until: float = 0.0
    reason: str = ""
    unhealthy: bool = False

    def blocked(self, now: float) -> bool:
        return now < self.until


def after_death(health: Health, now: float, reason: str, *, isolated: bool) -> Health:
    """A death. Of `isolated` items it counts only when nothing has succeeded since the last one.

    Otherwise one poison input among 32, whose search costs three deaths, would close its model for everybody.
    """
    recent = tuple(at for at in health.deaths if now - at < LOOP_SECONDS)
    if not (isolated and health.succeeded):
        recent = (*recent, now)
    health = replace(health, deaths=recent, succeeded=False)
    if len(recent) < LOOP_DEATHS:
        return health
    looping = replace(health, deaths=(), unhealthy=True)
    return _back_off(looping, now, f"its process died {LOOP_DEATHS} times in a minute; last: {reason}")


def after_failed_load(health: Health, now: float, reason: str) -> Health:
    unhealthy = health.unhealthy or health.backoffs + 1 >= FAILED_LOADS
    return _back_off(replace(health, unhealthy=unhealthy), now, reason)


def after_load(health: Health) -> Health:
    """It is healthy again; should it go on dying, it backs off for longer than before."""
    return replace(health, until=0.0, reason="", unhealthy=False)


def after_success(health: Health) -> Health:
    """An item has succeeded: the next failure backs off from the beginning again."""
    return replace(health, succeeded=True, backoffs=0, until=0.0, reason="", unhealthy=False)


def _back_off(health: Health, now: float, reason: str) -> Health:
    seconds = min(BACKOFF_SECONDS * 2**health.backoffs, BACKOFF_MOST_SECONDS)
    return replace(health, backoffs=health.backoffs + 1, until=now + seconds, reason=reason)
