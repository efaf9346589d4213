"""Which backend a prediction would go to now, and why not to the others: by what gateway workers have written
down. Pure, but for reading that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.backend_choice import STRATEGIES, BackendFacts, RatedBackend, rate
from app.domain.backends import OPEN, UNKNOWN, UNREACHABLE, BackendChoice, choices_of
from app.domain.errors import wrong_field
from app.domain.hybrid import expand, hybrids_of, strategy_for
from app.services.backends.registry import ListedBackend


@dataclass(frozen=True, slots=True)
class Selection:
    """`chosen`: the backend's name, "" when none can have it. The candidates are in the order of their
    scores."""

    chosen: str
    strategy: str
    candidates: tuple[RatedBackend, ...]


def choices_for(listed: Sequence[ListedBackend], task: str, model: str) -> list[BackendChoice]:
    """Every backend's models of this task, or of this name there; empty: any."""
    return [
        BackendChoice(each.backend.name, served["name"])
        for each in listed
        for served in each.backend.served
        if task in ("", served.get("task")) and model in ("", served["name"])
    ]


def read_version(config: Mapping[str, Any]) -> tuple[list[BackendChoice], str]:
    """The backends that a version names, and its strategy; "": it says none."""
    return list(choices_of(config)), str(config.get("strategy") or "")


def select(listed: Sequence[ListedBackend], choices: Sequence[BackendChoice], strategy: str) -> Selection:
    """Raises InvalidRequest for an unknown strategy. Without one, it is that of what they name, or
    failover."""
    hybrids = hybrids_of(each.backend for each in listed)
    strategy = strategy_for(strategy, choices, hybrids)
    if strategy not in STRATEGIES:
        raise wrong_field("strategy", "must be one of " + ", ".join(STRATEGIES))
    known = {each.backend.name: each for each in listed}
    rated = tuple(rate(strategy, [facts_of(known.get(each.name), each) for each in expand(choices, hybrids)]))
    chosen = rated[0].facts.name if rated and rated[0].score is not None else ""
    return Selection(chosen, strategy, rated)


def facts_of(listed: ListedBackend | None, choice: BackendChoice) -> BackendFacts:
    """As a strategy sees it, as far as it is written down."""
    if listed is None:
        return BackendFacts(choice.name, choice.model, unusable="there is no such backend", free=0)
    backend, report = listed.backend, listed.report
    return BackendFacts(
        name=choice.name,
        model=choice.model,
        weight=choice.weight,
        state=report.state,
        unusable=_why_not(listed, choice.model) or choice.why_not(0.0),
        free=backend.max_concurrency - report.in_flight,
        in_flight=report.in_flight,
        latency=report.latency_p50 or 0.0,
        error_rate=report.errors / report.requests if report.requests else 0.0,
    )


def _why_not(listed: ListedBackend, model: str) -> str:
    backend, report = listed.backend, listed.report
    if backend.draining:
        return "it is draining"
    if report.state in (UNREACHABLE, UNKNOWN):
        return f"it is {report.state}: {report.reason}"
    return f"its circuit breaker for {model} is open" if report.models.get(model) == OPEN else ""
