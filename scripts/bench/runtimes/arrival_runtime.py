"""Pair scoring without any sorting, the bench's baseline: 32 pairs in the order in which they came, padded to
the longest.

The rest of the path is the same. Found by RUNTIME_PATHS; see scripts/bench/pairs.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from app.domain.work import Event, Finished
from app.runtimes.base import Feed, Job, RuntimeSpec
from app.runtimes.encoders.pair_scoring import PairScoring


class ArrivalOrder(PairScoring):
    """All jobs look alike to the batch policy, so the oldest go first; one forward pass for the whole
    batch."""

    spec: ClassVar[RuntimeSpec] = replace(
        PairScoring.spec, name="arrival-order", description="The bench's baseline."
    )

    def prepare(self, job: Job) -> None:
        super().prepare(job)
        job.length = 1

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        scores = iter(self._score([row for job in batch for row in job.prepared]))
        for job in batch:
            yield job.id, Finished([next(scores) for _ in job.prepared])

    def probe(self, length: int) -> dict[str, Any] | None:
        return None
