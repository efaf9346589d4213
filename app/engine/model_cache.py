"""Which loaded models to evict so that another one fits: a pure function. Knows no process and no clock."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resident:
    """A loaded model: measured `bytes`; `last_used` on any rising scale; one in use or pinned is never
    evicted."""

    version: str
    bytes: int
    last_used: float
    in_use: bool = False
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`evict` in this order; `fits` says whether that is enough."""

    evict: tuple[str, ...]
    fits: bool


def plan(residents: Sequence[Resident], needed: int, budget: int) -> Plan:
    """Evicts the least recently used until `needed` more bytes fit into `budget` (0: no budget).

    When it can never fit, whatever may go goes: a model larger than the budget gets all the room there is.
    """
    used = sum(resident.bytes for resident in residents)
    evict: list[str] = []
    if not budget:
        return Plan((), True)
    free = (resident for resident in residents if not resident.in_use and not resident.pinned)
    for resident in sorted(free, key=lambda resident: resident.last_used):
        if used + needed <= budget:
            break
        evict.append(resident.version)
        used -= resident.bytes
    return Plan(tuple(evict), used + needed <= budget)
