"""Pair scoring without any sorting, the bench's baseline: 32 pairs in the order in which they came, padded to the longest.

The rest of the path is the same. Found by RUNTIME_PATHS; see scripts/bench/pairs.py.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from app.runtimes.base import Job, RuntimeSpec
from app.runtimes.pair_scoring import PairScoring


class ArrivalOrder(PairScoring):
    """All jobs look alike to the batch policy, so the oldest go first; one forward pass for the whole batch."""

    spec: ClassVar[RuntimeSpec] = replace(PairScoring.spec, name="arrival-order", description="The bench's baseline.")

    def prepare(self, job: Job) -> None:
        super().prepare(job)
        job.length = 1

    def _score(self, rows: Sequence[Any]) -> list[Any]:
        import torch

        with torch.inference_mode():
            return list(self._scores(self._net, rows).tolist())

    def probe(self, length: int) -> dict[str, Any] | None:
        return None
