"""The versions that a gateway worker has run lately, as the fleet sees them. Nothing of them is loaded
here."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.domain.backends import BackendChoice, choices_of
from app.domain.request_routing import RequestRouting
from app.domain.work import ModelSpec
from app.engine.loaded_model import LoadedModel
from app.worker.gateway.backend_pool import BackendPool, strategy_of

FORGET_SECONDS = 600.0
AHEAD_SHARE = 0.5  # of its capacity a version may have more here, so that a free place is taken at once
FEWEST_AHEAD = 2

Route = tuple[Sequence[BackendChoice], str]  # the backends that may have it, and how one is chosen


@dataclass(slots=True)
class GatewayVersion:
    """`open` items have no ending yet; `pace` is seconds of one prediction."""

    spec: ModelSpec
    choices: tuple[BackendChoice, ...]
    strategy: str
    open: int = 0
    pace: float = 0.0
    used_at: float = field(default_factory=time.monotonic)
    since: float = field(default_factory=time.time)

    def route(self, requested: Mapping[str, Any] | None) -> Route:
        """For a request that says this about its backends."""
        if not requested:
            return self.choices, self.strategy
        return RequestRouting.from_json(requested).narrow(self.choices, self.strategy)


class GatewayVersions:
    """Thread-safe; what a version counts is counted on the event loop."""

    def __init__(self, pool: BackendPool) -> None:
        self._pool = pool
        self._versions: dict[str, GatewayVersion] = {}

    def use(self, spec: ModelSpec) -> GatewayVersion:
        """The version, known from now on."""
        version = self._versions.get(spec.version)
        if version is None:
            fresh = GatewayVersion(spec, choices_of(spec.config), strategy_of(spec.config))
            version = self._versions.setdefault(spec.version, fresh)
        version.used_at = time.monotonic()
        return version

    def describe_all(self) -> list[LoadedModel]:
        """Those that were used lately; the others are forgotten."""
        now = time.monotonic()
        for name, version in list(self._versions.items()):
            if not version.open and now - version.used_at > FORGET_SECONDS:
                self._versions.pop(name, None)
        return [self.describe(version) for version in list(self._versions.values())]

    def states(self) -> dict[str, str]:
        return {name: self.describe(version).state for name, version in list(self._versions.items())}

    def limits(self) -> dict[str, int]:
        """How many items of each version are held at once: none of one whose backends are all away. Those
        wait in the queue, for whichever gateway worker reaches one first."""
        return {
            name: limit_with(self._pool.capacity(version.choices), version.open)
            for name, version in list(self._versions.items())
        }

    def pace(self, name: str) -> float:
        """Seconds of one prediction of a version lately; 0: not known."""
        version = self._versions.get(name)
        return version.pace if version else 0.0

    def describe(self, version: GatewayVersion) -> LoadedModel:
        """As a worker's loaded model."""
        capacity = self._pool.capacity(version.choices)
        backends = self._pool.facts(version.choices, version.spec.version)
        why = "; ".join(f"{each.name}: {each.unusable}" for each in backends if each.unusable)
        return LoadedModel(
            version=version.spec.version,
            model=version.spec.model,
            state="ready" if capacity else "failed",
            bytes=0,
            in_use=version.open,
            load_seconds=0.0,
            last_used=version.since,
            idle=time.monotonic() - version.used_at,
            batch_size=1,
            reason="" if capacity else why,
            pace=version.pace,
            limit=limit_for(capacity),
        )


def limit_for(capacity: int) -> int:
    """How many predictions are held for so many places at backends."""
    return capacity + max(FEWEST_AHEAD, int(capacity * AHEAD_SHARE)) if capacity else 0


def limit_with(capacity: int, held: int) -> int:
    """The same where so many are held: what is missing is claimed when it is worth a statement. Claimed one
    by one, as each place becomes free, they cost several times as much."""
    limit = limit_for(capacity)
    is_worth_it = limit - held >= (limit - capacity) // 2
    return limit if is_worth_it else min(limit, held)
