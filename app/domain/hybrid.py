"""A backend that is a set of others under one name: whoever names it means its members. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.backend_choice import FAILOVER
from app.domain.backends import Backend, BackendChoice, overflow_seconds

HYBRID = "hybrid"  # the kind
NAME = "[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"
ADDRESS = re.compile(rf"members:({NAME}(?:,{NAME}){{0,15}})\Z")


@dataclass(frozen=True, slots=True)
class Hybrid:
    """`members` in their order; by name, where it differs: what a model is called there, a weight, and for
    how long a prediction must have waited. `is_draining`: it means nothing just now."""

    members: tuple[str, ...]
    strategy: str = FAILOVER
    models: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    overflow: Mapping[str, float | None] = field(default_factory=dict)
    is_draining: bool = False

    def choices(self, choice: BackendChoice) -> list[BackendChoice]:
        """What a version's choice of it means."""
        return [] if self.is_draining else [self._choice(name, choice) for name in self.members]

    def _choice(self, name: str, choice: BackendChoice) -> BackendChoice:
        waits = [each for each in (choice.overflow_seconds, self.overflow.get(name)) if each is not None]
        return BackendChoice(
            name,
            self.models.get(name, choice.model),
            choice.weight * self.weights.get(name, 1.0),
            max(waits, default=None),
        )


def member_names(url: str) -> tuple[str, ...]:
    """Of an address such as `members:gpu,cloud`; none of any other."""
    match = ADDRESS.match(url)
    return tuple(dict.fromkeys(match[1].split(","))) if match else ()


def hybrids_of(backends: Iterable[Backend]) -> dict[str, Hybrid]:
    """Those among them, by name."""
    return {backend.name: _hybrid(backend) for backend in backends if backend.kind == HYBRID}


def _hybrid(backend: Backend) -> Hybrid:
    options = backend.options
    conditions = options.get("only_when", {})
    return Hybrid(
        member_names(backend.url),
        str(options.get("strategy") or FAILOVER),
        options.get("models", {}),
        options.get("weights", {}),
        {name: overflow_seconds(condition) for name, condition in conditions.items()},
        backend.draining,
    )


def expand(choices: Sequence[BackendChoice], hybrids: Mapping[str, Hybrid]) -> Sequence[BackendChoice]:
    """A version's backends with the members in the places of the sets."""
    if not any(choice.name in hybrids for choice in choices):
        return choices
    return [
        each
        for choice in choices
        for each in (hybrids[choice.name].choices(choice) if choice.name in hybrids else [choice])
    ]


def strategy_for(own: str, choices: Sequence[BackendChoice], hybrids: Mapping[str, Hybrid]) -> str:
    """How one of them is chosen: as the version or request says, else as the set does that it consists of."""
    if own or len(choices) != 1 or choices[0].name not in hybrids:
        return own or FAILOVER
    return hybrids[choices[0].name].strategy
