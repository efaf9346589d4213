"""What waits inside a model process: the reader thread adds prepared jobs, the batch loop takes batches.

Which jobs form a batch is `batch_policy`'s; this is the lock around it. Knows no socket and no runtime.
"""

import threading
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from app.engine.batch_policy import DEFAULT_COST, CostModel, Limits, Waiting, next_batch
from app.runtimes.base import Job


@dataclass(slots=True, eq=False)
class Entry:
    """A job and its times (monotonic seconds, comparable between processes of one machine).

    `at` when the engine accepted it, `load` seconds of that spent loading the model, `tokenise` seconds of
    `prepare`. `trial` names a group that must be run by itself after a crash ("" for everybody else).
    """

    job: Job
    at: float = 0.0
    load: float = 0.0
    isolation_group: str = ""
    tokenise: float = 0.0
    started: float = 0.0
    batch_size: int = 1
    padding: float = 0.0

    @property
    def key(self) -> Hashable:
        return (self.isolation_group, self.job.batch_key)


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
        self._some = threading.Condition()
        self._closed = False

    def add(self, entries: Sequence[Entry]) -> None:
        with self._some:
            self._waiting.extend(entries)
            self._some.notify()

    def cancel(self, job_id: str) -> bool:
        """True when the job waited and is out now; a running one is only marked."""
        with self._some:
            for entry in self._waiting:
                if entry.job.id == job_id:
                    self._waiting.remove(entry)
                    return True
            if job_id in self._running:
                self.canceled.add(job_id)
            return False

    def take(self) -> list[Entry]:
        """The next batch; waits for one. Empty when closed."""
        with self._some:
            while not self._closed:
                self._some.wait_for(lambda: self._waiting or self._closed)
                if self.rules.wait and not self._closed:
                    self._gather()
                if (
                    self._waiting and not self._closed
                ):  # all may have been canceled while others were waited for
                    return self._out(self._choose())
            return []

    def join(self, key: Hashable, capacity: int) -> list[Entry]:
        """At most `room` waiting entries of that key, oldest first."""
        with self._some:
            return self._out([entry for entry in self._waiting if entry.key == key][: max(0, capacity)])

    def more(self, key: Hashable) -> list[Entry]:
        """The next batch, when it is one of that key and need not wait for company."""
        with self._some:
            if self._closed or self.rules.wait or not self._waiting or self._waiting[0].key != key:
                return []
            return self._out(self._choose())

    def done(self, job_id: str) -> None:
        """A running job has ended."""
        with self._some:
            self._running.discard(job_id)
            self.canceled.discard(job_id)

    def close(self) -> None:
        with self._some:
            self._closed = True
            self._some.notify_all()

    def _gather(self) -> None:
        """`max_wait_ms`: gives a batch that is not full the chance to fill, counted from the arrival of its
        oldest."""
        until = self._waiting[0].at + self.rules.wait
        self._some.wait_for(
            lambda: self._closed or len(self._waiting) >= self.rules.limits.size,
            max(0.0, until - time.monotonic()),
        )

    def _choose(self) -> list[Entry]:
        items = [Waiting(entry.key, entry.job.length) for entry in self._waiting]
        rules = self.rules
        return [
            self._waiting[index]
            for index in next_batch(items, rules.limits, rules.cost_model, unpadded=rules.unpadded)
        ]

    def _out(self, chosen: list[Entry]) -> list[Entry]:
        taken = {id(entry) for entry in chosen}
        self._waiting = [entry for entry in self._waiting if id(entry) not in taken]
        self._running.update(entry.job.id for entry in chosen)
        return chosen
