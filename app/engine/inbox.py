"""What waits inside a model process: the reader thread adds prepared jobs, the batch loop takes batches.

Which jobs form a batch is `batch_policy`'s; this is the lock around it. Knows no socket and no runtime.
"""

import threading
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from app.engine.batch_policy import DEFAULT_COST, CostModel, Limits, Waiting, next_batch
from app.runtimes.base import Job


@dataclass(slots=True, eq=False)
class Entry:
    """A job and its times: moments in monotonic seconds, comparable between processes of one machine; 0.0:
    not yet.

    `accepted_at`: when the engine took it; `load_seconds` of that were spent loading the model,
    `tokenise_seconds` in `prepare`. `isolation_group` names a group that must be run by itself after a crash
    ("" for everybody else). The lowest `rank` runs first, of equal ones the oldest.
    """

    job: Job
    accepted_at: float = 0.0
    load_seconds: float = 0.0
    isolation_group: str = ""
    rank: float = 0.0
    tokenise_seconds: float = 0.0
    started_at: float = 0.0
    batch_size: int = 1
    padding: float = 0.0

    @property
    def key(self) -> Hashable:
        return (self.isolation_group, self.job.batch_key)


RANK = attrgetter("rank")


@dataclass(slots=True)
class Rules:
    """How batches are formed. `limits` shrink after running out of memory; `wait` is in seconds; `unpadded`
    as the runtime is."""

    limits: Limits = field(default_factory=Limits)
    cost_model: CostModel = DEFAULT_COST
    wait: float = 0.0
    unpadded: bool = False


class Inbox:
    """Thread-safe. `canceled` holds ids of running jobs that are to stop."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.canceled: set[str] = set()
        self._waiting: list[Entry] = []
        self._running: set[str] = set()
        self._changed = threading.Condition()
        self._closed = False

    def add(self, entries: Sequence[Entry]) -> None:
        with self._changed:
            self._waiting.extend(entries)
            self._waiting.sort(key=RANK)
            self._changed.notify()

    def cancel(self, job_id: str) -> bool:
        """True when the job waited and is out now; a running one is only marked."""
        with self._changed:
            for entry in self._waiting:
                if entry.job.id == job_id:
                    self._waiting.remove(entry)
                    return True
            if job_id in self._running:
                self.canceled.add(job_id)
            return False

    def next_batch(self) -> list[Entry]:
        """Waits for one. Empty when closed."""
        with self._changed:
            while not self._closed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self.rules.wait and not self._closed:
                    self._gather()
                # all may have been canceled while others were waited for
                if self._waiting and not self._closed:
                    return self._pop(self._choose())
            return []

    def join(self, key: Hashable, capacity: int) -> list[Entry]:
        """At most `capacity` waiting entries of that key, in their order."""
        with self._changed:
            return self._pop([entry for entry in self._waiting if entry.key == key][: max(0, capacity)])

    def more(self, key: Hashable) -> list[Entry]:
        """The next batch, when it is one of that key and need not wait for company."""
        with self._changed:
            if self._closed or self.rules.wait or not self._waiting or self._waiting[0].key != key:
                return []
            return self._pop(self._choose())

    def on_ended(self, job_id: str) -> None:
        """A running job has ended."""
        with self._changed:
            self._running.discard(job_id)
            self.canceled.discard(job_id)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _gather(self) -> None:
        """`max_wait_ms`: lets a batch that is not full fill, counted from the arrival of its first."""
        until = self._waiting[0].accepted_at + self.rules.wait
        self._changed.wait_for(
            lambda: self._closed or len(self._waiting) >= self.rules.limits.size,
            max(0.0, until - time.monotonic()),
        )

    def _choose(self) -> list[Entry]:
        rules = self.rules
        jobs = [Waiting(entry.key, entry.job.length) for entry in self._waiting]
        indexes = next_batch(jobs, rules.limits, rules.cost_model, unpadded=rules.unpadded)
        return [self._waiting[index] for index in indexes]

    def _pop(self, entries: list[Entry]) -> list[Entry]:
        """They wait no longer; they run."""
        popped = {id(entry) for entry in entries}
        self._waiting = [entry for entry in self._waiting if id(entry) not in popped]
        self._running.update(entry.job.id for entry in entries)
        return entries
