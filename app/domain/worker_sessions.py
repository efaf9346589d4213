"""Which worker a client is sent to that wants to call one itself: pure."""

import hashlib
from collections.abc import Collection, Sequence

from app.domain.routing import Candidate, WorkerFacts


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
