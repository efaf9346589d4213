"""Which queue a prediction goes to: a pure function over the live workers' heartbeats. No clock, no Redis, no
Postgres.

Every strategy gives each fitting worker a score, lower being better. The best one's pinned queue is chosen,
or its class's queue where whoever is free first may as well have it. A class queue is only used when every
worker that reads it fits.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.domain import queue_names
from app.domain.versions import Placement

# Faster classes first; a version without a preference goes to the best class that is alive.
CLASS_ORDER = ("cuda", "rocm", "mps", "xpu", "cpu")
DEFAULT = "affinity"
# What a choice says instead of a strategy's name.
PINNED = "pinned"
CLASS_QUEUE = "class"
# Affinity's score is made of these: what matters more weighs more than everything below it together.
TIER = 10_000.0
CLASS = 100.0
MOST_LOAD = 99.0
# In turn, a worker with so many times its slots in work and waiting is passed over: it may be stuck.
OVERLOADED = 2.0
UNMEASURED_SECONDS = 1.0  # of every worker, when none has run the version lately: then only the load decides
# A warm worker that would begin only later than this is not waited for: whoever of its class is free first.
SOON_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class VersionTrouble:
    """Why a worker does not run a version now, and in how many seconds it tries again. `lasting`: new
    predictions are better refused than accepted."""

    reason: str
    retry_in: float = 0.0
    lasting: bool = True


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What routing knows of a live worker. `running` and `waiting` (in its pinned queue) count predictions;
    `memory_bytes` is its device's (0: not known). By version id: `loaded`, how many of its predictions the
    worker holds; `pace`, the seconds that one of them took it lately; `limits`, how many it takes at most at
    once; `troubles`, what is wrong with it there. `address`: where it takes direct calls, "" nowhere; `tls`:
    how, "server" or "mutual", "" in plaintext; `certificate`: the SHA-256 of the one that it shows. `pinned`
    is its own queue, `rank` the position of its class in CLASS_ORDER (unknown classes last)."""

    device: str
    host: str
    slots: int
    running: int
    loaded: Mapping[str, int] = field(default_factory=dict)
    pace: Mapping[str, float] = field(default_factory=dict)
    troubles: Mapping[str, VersionTrouble] = field(default_factory=dict)
    waiting: int = 0
    memory_bytes: int = 0
    draining: bool = False
    limits: Mapping[str, int] = field(default_factory=dict)
    address: str = ""
    tls: str = ""
    certificate: str = ""
    # Of these: each choice asks for them some twenty times.
    device_class: str = field(init=False)
    pinned: str = field(init=False)
    rank: int = field(init=False)

    def __post_init__(self) -> None:
        device_class = queue_names.device_class(self.device)
        object.__setattr__(self, "device_class", device_class)
        object.__setattr__(self, "pinned", queue_names.pinned(self.device, self.host))
        is_known = device_class in CLASS_ORDER
        object.__setattr__(self, "rank", CLASS_ORDER.index(device_class) if is_known else len(CLASS_ORDER))


@dataclass(frozen=True, slots=True)
class Situation:
    """The version, the live workers, how many predictions were `sent` to each pinned queue since the
    heartbeats were read, and the version's `turn`."""

    version: str
    placement: Placement
    workers: Sequence[WorkerFacts]
    sent: Mapping[str, int] = field(default_factory=dict)
    turn: int = 0

    def held(self, worker: WorkerFacts) -> int:
        """Predictions that run on the worker or wait for it alone."""
        return worker.running + worker.waiting + self.sent.get(worker.pinned, 0)

    def load(self, worker: WorkerFacts) -> float:
        """The same as a share of its slots; from 1 on all are taken."""
        return self.held(worker) / max(1, worker.slots)

    def ahead(self, worker: WorkerFacts) -> int:
        """Predictions that the worker would end before one more of the version: those of it that it holds,
        and all that wait for the worker alone."""
        return worker.loaded.get(self.version, 0) + worker.waiting + self.sent.get(worker.pinned, 0)

    def has_capacity(self, worker: WorkerFacts) -> bool:
        """Whether the worker would take one more of the version now, rather than let it wait in its own
        queue."""
        limit = worker.limits.get(self.version)
        return self.load(worker) < 1 and (limit is None or self.ahead(worker) < limit)

    def begins_soon(self, worker: WorkerFacts) -> bool:
        """Whether the worker would begin one more of the version within SOON_SECONDS, by what one took it
        lately."""
        pace = worker.pace.get(self.version) or UNMEASURED_SECONDS
        return self.ahead(worker) * pace < SOON_SECONDS


@dataclass(frozen=True, slots=True)
class Candidate:
    """A live worker as the strategy rates it. `score`: lower is better; None: it is out of the question."""

    worker: WorkerFacts
    score: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A queue and why: `reasons` are sentences for a person. `requires` is what the version cannot do
    without; it is kept so that the sweep can choose again when nobody reads the queue any more."""

    queue: str
    strategy: str
    reasons: tuple[str, ...]
    requires: Mapping[str, Any] = field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What is stored with the prediction."""
        stored = {"queue": self.queue, "strategy": self.strategy, "reasons": list(self.reasons)}
        return {**stored, "requires": dict(self.requires)} if self.requires else stored


Scores = Callable[[Situation, Sequence[WorkerFacts]], Iterator[tuple[float, str]]]
MayPin = Callable[[Situation, WorkerFacts], bool]


def choose(now: Situation, default: str = DEFAULT) -> Choice:
    """By the version's own strategy, or the `default` one. Never a dead, draining, unhealthy or incapable
    worker's queue, unless the version is pinned to it: then it waits there."""
    placement, strategy = now.placement, now.placement.strategy or default
    scores, may_pin = STRATEGIES[strategy]
    candidates = _candidates(now, scores)
    if "@" in placement.device and queue_names.is_device(placement.device):
        reasons = (f"the version is pinned to {placement.device}",)
        return Choice(placement.device, PINNED, reasons, placement.required, candidates)
    fitting = [candidate for candidate in candidates if candidate.score is not None]
    if not fitting:
        return _nobody(now, candidates)
    preferred = _preferred(now, fitting) or fitting
    queue, name, reason = _best(now, preferred, may_pin, strategy)
    narrowed = placement.preference and len(preferred) < len(fitting)
    why = (f"preferred: {placement.preference}", reason) if narrowed else (reason,)
    return Choice(queue, name, why, placement.required, candidates)


def _best(
    now: Situation, chosen: Sequence[Candidate], may_pin: MayPin, strategy: str
) -> tuple[str, str, str]:
    """The queue, what chose it, and why."""
    best = min(chosen, key=_rating)
    device_class = best.worker.device_class
    by_class = len(chosen) == 1 or not may_pin(now, best.worker)
    if by_class and _is_safe(now, device_class, chosen):
        alone = "the only live worker that fits" if len(chosen) == 1 else "whoever of the class is free first"
        return device_class, CLASS_QUEUE, f"{alone}; {best.worker.pinned}: {best.reason}"
    if by_class:  # others read the class queue that must not have it
        of_class = [candidate for candidate in chosen if candidate.worker.device_class == device_class]
        best = min(of_class, key=_by_load(now))
    return best.worker.pinned, strategy, f"{best.worker.pinned}: {best.reason}"


def lasting_trouble(now: Situation) -> VersionTrouble | None:
    """The trouble that ends soonest, when every worker that could run the version says that it is
    unhealthy."""
    if not any(now.version in worker.troubles for worker in now.workers):
        return None
    able = [worker for worker in now.workers if not worker.draining and is_able(now.placement, worker)]
    troubles = [worker.troubles[now.version] for worker in able if now.version in worker.troubles]
    lasting = [trouble for trouble in troubles if trouble.lasting]
    if not lasting or len(lasting) < len(able):
        return None
    return min(lasting, key=lambda trouble: trouble.retry_in)


def why_not(version: str, placement: Placement, worker: WorkerFacts) -> str | None:
    """Why the worker must not get the version now; None when it may."""
    if worker.draining:
        return "it is stopping"
    if reason := _cannot(placement, worker):
        return reason
    if (trouble := worker.troubles.get(version)) is None:
        return None
    return f"the version is {'unhealthy' if trouble.lasting else 'not well'} there: {trouble.reason}"


def select_kind(placement: Placement, workers: Sequence[WorkerFacts]) -> Sequence[WorkerFacts]:
    """Those that run what devices run, or those that call backends: the others are not rated at all."""
    wants_backends = placement.device == queue_names.BACKENDS
    return [each for each in workers if (each.device_class == queue_names.BACKENDS) == wants_backends]


def is_able(placement: Placement, worker: WorkerFacts) -> bool:
    """Whether the worker has all that the version requires."""
    return _cannot(placement, worker) is None


def _cannot(placement: Placement, worker: WorkerFacts) -> str | None:
    if worker.device_class == queue_names.BACKENDS and placement.device != queue_names.BACKENDS:
        return "it runs only what backends serve"
    if placement.device and placement.device not in (worker.device_class, worker.device, worker.pinned):
        return f"the version requires {placement.device}"
    if placement.memory_bytes > worker.memory_bytes:
        required, available = gigabytes(placement.memory_bytes), gigabytes(worker.memory_bytes)
        return f"the version requires {required} of memory and it has {available}"
    return None


def prefers(placement: Placement, worker: WorkerFacts) -> bool:
    """Whether the worker is what the version would rather have."""
    device = placement.preferred_device
    is_right = not device or device in (worker.device_class, worker.device, worker.pinned)
    return is_right and worker.memory_bytes >= placement.preferred_memory_bytes


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


# The strategies: a score with its reason for each fitting worker; whether the best one's own queue is better
# than its class's.


def _affinity(now: Situation, fitting: Sequence[WorkerFacts]) -> Iterator[tuple[float, str]]:
    for worker in fitting:
        is_warm, has_capacity = now.version in worker.loaded, now.has_capacity(worker)
        tier = (0 if is_warm else 2) + (not has_capacity)
        score = tier * TIER + worker.rank * CLASS + min(now.load(worker), MOST_LOAD)
        loaded = "has the model loaded" if is_warm else "has not loaded the model"
        free = f"{worker.slots - now.held(worker)} free slots"
        yield score, f"{loaded}, {free if has_capacity else 'no capacity for more of it now'}"


def _least_loaded(now: Situation, fitting: Sequence[WorkerFacts]) -> Iterator[tuple[float, str]]:
    for worker in fitting:
        yield now.load(worker), f"{now.held(worker)} of {worker.slots} slots in use or waited for"


def _round_robin(now: Situation, fitting: Sequence[WorkerFacts]) -> Iterator[tuple[float, str]]:
    in_turn = sorted({worker.pinned for worker in fitting})
    for worker in fitting:
        turns = (in_turn.index(worker.pinned) - now.turn) % len(in_turn)
        if worker.running + worker.waiting >= OVERLOADED * worker.slots:
            yield float(turns + len(in_turn)), "passed over: too much waits there"
        else:
            yield float(turns), f"its turn comes after {turns} others" if turns else "its turn"


def _best_performance(now: Situation, fitting: Sequence[WorkerFacts]) -> Iterator[tuple[float, str]]:
    paces = [worker.pace[now.version] for worker in fitting if now.version in worker.pace]
    fastest = min(paces, default=UNMEASURED_SECONDS)
    for worker in fitting:
        pace, ahead = worker.pace.get(now.version), now.ahead(worker)
        measured = (
            f"{pace:.3g} s for each lately" if pace else "not measured: taken to be as fast as the fastest"
        )
        yield (pace or fastest) * (ahead + 1), f"{measured}, {ahead} before it"


def _has_capacity(now: Situation, worker: WorkerFacts) -> bool:
    return now.has_capacity(worker)


def _is_warm_with_capacity(now: Situation, worker: WorkerFacts) -> bool:
    return now.version in worker.loaded and now.has_capacity(worker) and now.begins_soon(worker)


def _always(now: Situation, worker: WorkerFacts) -> bool:
    return True


STRATEGIES: dict[str, tuple[Scores, MayPin]] = {
    "affinity": (_affinity, _is_warm_with_capacity),
    "least-loaded": (_least_loaded, _has_capacity),
    "round-robin": (_round_robin, _always),
    "best-performance": (_best_performance, _always),
}


# Parts


def _candidates(now: Situation, scores: Scores) -> tuple[Candidate, ...]:
    """The fitting workers, best first, then the others with why not."""
    reasons = [(worker, why_not(now.version, now.placement, worker)) for worker in now.workers]
    fitting = [worker for worker, reason in reasons if reason is None]
    scored = [
        Candidate(worker, score, reason)
        for worker, (score, reason) in zip(fitting, scores(now, fitting), strict=True)
    ]
    unfit = [Candidate(worker, None, reason) for worker, reason in reasons if reason is not None]
    return (*sorted(scored, key=_rating), *unfit)


def _preferred(now: Situation, fitting: Sequence[Candidate]) -> list[Candidate]:
    """Those that the version would rather have and that have free slots."""
    placement = now.placement
    return [
        candidate
        for candidate in fitting
        if placement.preference and prefers(placement, candidate.worker) and now.load(candidate.worker) < 1
    ]


def _rating(candidate: Candidate) -> tuple[float, int, str]:
    return candidate.score or 0.0, candidate.worker.rank, candidate.worker.pinned


def _by_load(now: Situation) -> Callable[[Candidate], tuple[float, str]]:
    return lambda candidate: (now.load(candidate.worker), candidate.worker.pinned)


def _is_safe(now: Situation, device_class: str, chosen: Sequence[Candidate]) -> bool:
    """Whether everybody who reads the class's queue may have it."""
    may_have = {candidate.worker.pinned for candidate in chosen}
    readers = [
        worker for worker in now.workers if worker.device_class == device_class and not worker.draining
    ]
    return all(worker.pinned in may_have for worker in readers)


def _nobody(now: Situation, candidates: tuple[Candidate, ...]) -> Choice:
    """It waits where those look first who may run it one day."""
    placement = now.placement
    workers = [candidate.worker for candidate in candidates if not candidate.worker.draining]
    able = [worker for worker in workers if is_able(placement, worker)]
    if not placement.is_a_class:
        queue = queue_names.UNPLACED
    elif placement.device:  # one of before its form was checked names no queue
        queue = placement.device if queue_names.is_queue(placement.device) else queue_names.UNPLACED
    else:
        queue = min(able, key=lambda worker: worker.rank).device_class if able else queue_names.ANY
    why = "no live worker that fits" if candidates else "no live worker"
    return Choice(queue, CLASS_QUEUE, (f"{why}; it waits in {queue}",), placement.required, candidates)
