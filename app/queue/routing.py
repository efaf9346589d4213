"""Which queue a prediction goes to: a pure function over the live workers' heartbeats. No clock, no Redis, no Postgres."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.queue import names

# Faster classes first; a version without a wish takes the best class that is alive.
CLASS_ORDER = ("cuda", "rocm", "mps", "xpu", "cpu")


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What routing knows of a live worker. `loaded` maps version ids to how many of its predictions the worker holds."""

    device: str
    host: str
    slots: int
    running: int
    loaded: Mapping[str, int] = field(default_factory=dict)

    @property
    def device_class(self) -> str:
        return names.device_class(self.device)

    @property
    def pinned(self) -> str:
        return names.pinned(self.device, self.host)


@dataclass(frozen=True, slots=True)
class Choice:
    """A queue and why: `reasons` are sentences for a person."""

    queue: str
    strategy: str
    reasons: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """What is stored with the prediction."""
        return {"queue": self.queue, "strategy": self.strategy, "reasons": list(self.reasons)}


def choose(version: str, wish: str, workers: Sequence[WorkerFacts]) -> Choice:
    """By affinity: the pinned queue of a worker that has the version loaded and has room, else the class queue.

    `wish` is a device class or a pinned queue that the version asks for; "" for none.
    """
    if "@" in wish:
        return Choice(wish, "pinned", (f"the version is pinned to {wish}",))
    fitting = [worker for worker in workers if not wish or worker.device_class == wish]
    if not fitting:
        queue = wish or names.ANY
        return Choice(queue, "class", (f"no live worker{f' of class {wish}' if wish else ''}; it waits in {queue}",))
    warm = [worker for worker in fitting if version in worker.loaded and worker.running < worker.slots]
    if warm and len(fitting) > 1:
        best = min(warm, key=lambda worker: (rank(worker), worker.running / worker.slots))
        return Choice(
            best.pinned, "affinity", (f"{best.pinned} has the model loaded and {best.slots - best.running} free slots",)
        )
    best = min(fitting, key=lambda worker: (rank(worker), worker.running / worker.slots))
    why = "the only live worker" if len(fitting) == 1 else "no live worker has the model loaded and room"
    return Choice(best.device_class, "class", (f"{why}; best live class is {best.device_class}",))


def rank(worker: WorkerFacts) -> int:
    """Place of the worker's class in CLASS_ORDER; unknown classes last."""
    return CLASS_ORDER.index(worker.device_class) if worker.device_class in CLASS_ORDER else len(CLASS_ORDER)
