"""Which worker a client is sent to that wants to call one itself: pure."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from app.domain.errors import wrong_field
from app.domain.queue_names import is_device
from app.domain.routing import Candidate, WorkerFacts, gigabytes, is_able
from app.domain.versions import Placement, RunnableVersion


@dataclass(frozen=True, slots=True)
class Requirements:
    """Of a session, beside what the version itself requires. `device` and `memory_bytes` as in Placement;
    `task`: what the version must be for. "" and 0: anything."""

    device: str = ""
    memory_bytes: int = 0
    task: str = ""

    def check(self, version: RunnableVersion) -> None:
        """Raises InvalidRequest for what no worker could ever meet."""
        if self.device and not is_device(self.device):
            raise wrong_field("requirements.device", "must be a class (cuda) or a device (cuda:0@host)")
        if self.task and self.task != version.task:
            raise wrong_field(
                "requirements.task", f"is {self.task}, and {version.model} is for {version.task}"
            )

    def select(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those whose worker has what is required of it."""
        if not self.device and not self.memory_bytes:
            return list(candidates)
        placement = Placement(self.device, self.memory_bytes)
        return [candidate for candidate in candidates if is_able(placement, candidate.worker)]

    @property
    def worker_wishes(self) -> str:
        """In words; "" for nothing."""
        memory = f"{gigabytes(self.memory_bytes)} of memory" if self.memory_bytes else ""
        return ", ".join(filter(None, (self.device, memory)))


def choose_worker(
    candidates: Sequence[Candidate], affinity: str = "", exclude: Collection[str] = ()
) -> WorkerFacts | None:
    """The best that takes direct calls, by the routing policy's order (`candidates`, best first). With an
    `affinity` key the same one each time while it is healthy and has capacity, and few others move when one
    comes or goes (rendezvous hashing). Those in `exclude` did not answer their callers, whatever their last
    heartbeat says, and are chosen only where there is no other. None: nobody takes them."""
    able = [each.worker for each in candidates if each.score is not None and each.worker.address]
    able = [worker for worker in able if worker.pinned not in exclude] or able
    free = [worker for worker in able if worker.running < worker.slots] or able
    if not affinity:
        return next(iter(free), None)
    return max(free, key=lambda worker: _weight(affinity, worker), default=None)


def _weight(affinity: str, worker: WorkerFacts) -> bytes:
    return hashlib.sha256(f"{affinity}\x00{worker.pinned}".encode()).digest()
