"""Which of a version's backends gets the next prediction: a pure function over what is known of each. No
clock, no call, no chance but the one that is passed in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.domain.backends import HEALTHY

FAILOVER, ROUND_ROBIN = "failover", "round-robin"
# Of all predictions so many go to another than the best one, so that one that has become fast is noticed.
EXPLORED = 0.02
UNMEASURED_SECONDS = 0.0  # nobody has called it yet: it is tried first
WORST_ERROR_RATE = 0.99


@dataclass(frozen=True, slots=True)
class BackendFacts:
    """A backend as a strategy sees it. `unusable`: why it gets nothing now, "" when it may; `free`: how many
    more calls it takes; `credit`: turns that it is owed; `latency` in seconds (0: not
    known) and `error_rate` (0…1) of its last calls."""

    name: str
    model: str
    weight: float = 1.0
    state: str = HEALTHY
    unusable: str = ""
    free: int = 1
    in_flight: int = 0
    credit: float = 0.0
    latency: float = 0.0
    error_rate: float = 0.0

    @property
    def is_usable(self) -> bool:
        return not self.unusable and self.free > 0


@dataclass(frozen=True, slots=True)
class RatedBackend:
    """A backend with its score (lower is better; None: it is out of the question) and why."""

    facts: BackendFacts
    score: float | None
    reason: str


Rate = Callable[[int, BackendFacts], tuple[float, str]]


def _round_robin(_: int, facts: BackendFacts) -> tuple[float, str]:
    return -(
        facts.credit + facts.weight
    ), f"is owed {facts.credit:.3g} turns, with the weight {facts.weight:g}"


def _least_loaded(_: int, facts: BackendFacts) -> tuple[float, str]:
    load = (facts.in_flight + 1) / facts.weight
    return load, f"{facts.in_flight} in flight, with the weight {facts.weight:g}"


def _best_performance(_: int, facts: BackendFacts) -> tuple[float, str]:
    score = facts.latency / (1 - min(facts.error_rate, WORST_ERROR_RATE)) / facts.weight
    if not facts.latency:
        return UNMEASURED_SECONDS, "not measured yet: it is tried first"
    return score, f"{facts.latency:.3g} s lately, {facts.error_rate:.0%} of its calls failed"


def _failover(position: int, _: BackendFacts) -> tuple[float, str]:
    return float(position), f"number {position + 1} of the version's list"


STRATEGIES: dict[str, Rate] = {
    FAILOVER: _failover,
    ROUND_ROBIN: _round_robin,
    "least-loaded": _least_loaded,
    "best-performance": _best_performance,
}


def rate(strategy: str, backends: Sequence[BackendFacts]) -> list[RatedBackend]:
    """All of them, best first, then those that get nothing now, with the reason."""
    rated = []
    for position, facts in enumerate(backends):
        score, reason = STRATEGIES[strategy](position, facts)
        unusable = facts.unusable or ("" if facts.free > 0 else "takes no more at once")
        rated.append(RatedBackend(facts, None if unusable else score, unusable or reason))
    return sorted(rated, key=lambda each: (each.score is None, each.score or 0.0))


def choose(strategy: str, backends: Sequence[BackendFacts], draw: float) -> BackendFacts | None:
    """The backend for the next prediction; None when none can have it now. `draw` is a number from 0 to 1 by
    chance."""
    usable = [each.facts for each in rate(strategy, backends) if each.score is not None]
    if not usable:
        return None
    if strategy == "best-performance" and len(usable) > 1 and draw < EXPLORED:
        others = usable[1:]
        return others[int(draw / EXPLORED * len(others))]
    return usable[0]


def next_credits(backends: Sequence[BackendFacts], chosen: BackendFacts) -> dict[str, float]:
    """What each is owed after a turn of `chosen`: everybody who could have had it gains its weight, and
    `chosen` pays for all. One that was away for long is owed nothing for that time."""
    usable = [each for each in backends if each.is_usable]
    total = sum(each.weight for each in usable)
    return {
        each.name: each.credit + each.weight - (total if each.name == chosen.name else 0.0) for each in usable
    }
