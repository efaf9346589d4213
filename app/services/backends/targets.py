"""Where predictions run, for whoever may predict: the classes of devices, and to administrators the
registered backends; and which of them a prediction would go to now. Knows no HTTP."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

from app.domain import queue_names, routing
from app.domain.backends import HEALTHY
from app.domain.errors import NotFound, wrong_field
from app.domain.versions import RunnableVersion
from app.domain.workers import Worker
from app.services.backends.registry import NO_BACKEND, Backends, ListedBackend
from app.services.backends.selection import read_version, select
from app.services.people.access import Principal
from app.services.platform.fleet import Fleet
from app.services.platform.health import Health

DEVICE = "device"
DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Target:
    """Something that runs predictions: a class of this platform's devices (`kind` device), or a backend.
    `capacity` is how many it takes at once; `tasks` are what a backend's models are for."""

    name: str
    kind: str
    state: str
    running: int
    capacity: int
    workers: int = 0
    reason: str = ""
    tasks: tuple[str, ...] = ()
    errors: int = 0
    latency_p50: float | None = None
    latency_p95: float | None = None


@dataclass(frozen=True, slots=True)
class RatedTarget:
    """A candidate. `score`: lower is better; None: it is out of the question now, and `reason` says why."""

    name: str
    score: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class ChosenTarget:
    """Where a version's next prediction would go. `target` is "" when none can have it: then it waits.
    `candidates` are for administrators."""

    model: str
    target: str
    strategy: str
    reasons: tuple[str, ...] = ()
    candidates: tuple[RatedTarget, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What says how this platform's own devices are."""

    health: Health
    fleet: Fleet
    threads: Executor


class Targets:
    """One for each API process, awaited on its event loop."""

    def __init__(self, backends: Backends, facts: TargetFacts) -> None:
        self._backends, self._health = backends, facts.health
        self._fleet, self._threads = facts.fleet, facts.threads

    async def list_all(self, principal: Principal) -> list[Target]:
        """All that the caller may see, devices first."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, partial(self._list_all, principal)
        )

    def _list_all(self, principal: Principal) -> list[Target]:
        devices = device_targets(self._health.workers())
        listed = self._backends.list_all(principal) if principal.is_operator else []
        return [*devices, *(backend_target(each) for each in listed)]

    async def get(self, principal: Principal, name: str) -> Target:
        """One of them. Raises NotFound."""
        for target in await self.list_all(principal):
            if target.name == name:
                return target
        raise NotFound(NO_BACKEND)

    async def choose(
        self, principal: Principal, version: RunnableVersion, strategy: str = ""
    ) -> ChosenTarget:
        """Where a prediction of the version would go now, by its own strategy or another one. Raises
        InvalidRequest for one that is unknown."""
        chosen = await (
            self._choose_backend(version, strategy)
            if version.config.get("backends")
            else self._choose_device(version, strategy)
        )
        return chosen if principal.is_operator else ChosenTarget(chosen.model, chosen.target, chosen.strategy)

    async def _choose_backend(self, version: RunnableVersion, strategy: str) -> ChosenTarget:
        listed = await asyncio.get_running_loop().run_in_executor(self._threads, self._backends.list_known)
        choices, own = read_version(version.config)
        selection = select(listed, choices, strategy or own)
        candidates = tuple(
            RatedTarget(each.facts.name, each.score, each.reason) for each in selection.candidates
        )
        return ChosenTarget(version.model, selection.chosen, selection.strategy, (), candidates)

    async def _choose_device(self, version: RunnableVersion, strategy: str) -> ChosenTarget:
        if strategy and strategy not in routing.STRATEGIES:
            raise wrong_field("strategy", "must be one of " + ", ".join(routing.STRATEGIES))
        choice = await self._fleet.explain(version.id, version.config, strategy)
        candidates = tuple(
            RatedTarget(each.worker.pinned, each.score, each.reason) for each in choice.candidates
        )
        is_able = any(each.score is not None for each in candidates)
        return ChosenTarget(
            version.model, choice.queue if is_able else "", choice.strategy, choice.reasons, candidates
        )


def device_targets(workers: Sequence[Worker]) -> list[Target]:
    """The classes of devices that live workers have; a gateway worker is none."""
    by_class: dict[str, list[Worker]] = {}
    for worker in workers:
        if worker.device_class != queue_names.BACKENDS:
            by_class.setdefault(worker.device_class, []).append(worker)
    return [
        Target(
            name,
            DEVICE,
            HEALTHY if any(not each.is_draining for each in group) else DRAINING,
            running=sum(each.running for each in group),
            capacity=sum(each.slots for each in group),
            workers=len(group),
        )
        for name, group in sorted(by_class.items())
    ]


def backend_target(listed: ListedBackend) -> Target:
    """A registered backend."""
    backend, report = listed.backend, listed.report
    return Target(
        backend.name,
        backend.kind,
        DRAINING if backend.draining else report.state,
        running=report.in_flight,
        capacity=backend.max_concurrency,
        reason=report.reason,
        tasks=tuple(sorted({str(each.get("task")) for each in backend.served})),
        errors=report.errors,
        latency_p50=report.latency_p50,
        latency_p95=report.latency_p95,
    )
