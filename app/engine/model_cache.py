"""What makes memory for a model that is to be loaded: pure decisions. Knows no process and no clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

# How long a load waits for models in use to become idle before it goes ahead over the budget, or is refused.
WAIT_SECONDS = 10.0
# After so long the model that has been loaded for longest gets nothing new, so that traffic cannot keep
# others out.
HOLD_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Resident:
    """A model in memory: measured `bytes`; `last_used` and `ready_at` on any rising scale, 0: it is loading.
    One in use or pinned is never evicted; one that is `held` gets nothing new."""

    version: str
    bytes: int
    last_used: float
    in_use: bool = False
    pinned: bool = False
    ready_at: float = 0.0
    held: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`evict` in this order; `fits` says whether that is enough."""

    evict: tuple[str, ...]
    fits: bool


class Then(Enum):
    """What follows the evictions of a step."""

    LOAD = auto()
    WAIT = auto()
    GO_OVER_BUDGET = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """`evict` these in this order, give nothing new to the version `hold` (if any), then go on as `then`
    says."""

    evict: tuple[str, ...]
    then: Then
    hold: str = ""


def plan_eviction(residents: Sequence[Resident], needed: int, budget: int) -> Plan:
    """Evicts the least recently used until `needed` more bytes fit into `budget` (0: no budget).

    When it can never fit, whatever may go goes: a model larger than the budget gets all the memory there is.
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


def next_step(residents: Sequence[Resident], needed: int, budget: int, waited: float) -> Step:
    """What to do for a model of `needed` bytes that has waited so many seconds for memory.

    It waits for models in use, not when only pinned ones are left: then nobody's going would help.
    """
    plan = plan_eviction(residents, needed, budget)
    left = [resident for resident in residents if resident.version not in plan.evict]
    if plan.fits or all(resident.pinned for resident in left):
        return Step(plan.evict, Then.LOAD)
    if waited > WAIT_SECONDS:
        return Step(plan.evict, Then.GO_OVER_BUDGET)
    return Step(plan.evict, Then.WAIT, _to_hold(left) if waited > HOLD_SECONDS else "")


def _to_hold(residents: Sequence[Resident]) -> str:
    """The one that has been ready for longest, one at a time; it is evicted when its last item has ended."""
    ready = [resident for resident in residents if resident.ready_at and not resident.pinned]
    if not ready or any(resident.held for resident in ready):
        return ""
    return min(ready, key=lambda resident: resident.ready_at).version
