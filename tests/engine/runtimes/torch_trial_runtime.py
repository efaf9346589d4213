"""A small torch model for the engine's tests: it sums what an input's bytes become in a matrix, and fails as
torch does."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from app.domain.work import Event, Finished, ModelSpec
from app.runtimes import schema
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec

WIDTH = 16
ROW_BYTES = 2**28


class TorchTrial(Runtime):
    """One forward pass for a batch; a job that crashes or hangs takes the whole batch with it, as in any real
    model."""

    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        "torch-trial", "Sums.", {"": schema.inputs({})}, {"": {}}, needs_source=False
    )

    def __init__(self, net: Any, hungry: bool) -> None:
        self._net, self._hungry = net, hungry

    @classmethod
    def load(cls, model: ModelSpec) -> "TorchTrial":
        import torch

        if model.config.get("load_crash"):
            os.kill(os.getpid(), signal.SIGKILL)
        torch.manual_seed(7)
        return cls(
            torch.nn.Linear(WIDTH, WIDTH).eval().requires_grad_(False), bool(model.config.get("hungry"))
        )

    def prepare(self, job: Job) -> None:
        text = str(job.input.get("text", "")).encode()[:WIDTH]
        job.prepared = [byte / 255 for byte in text] + [0.0] * (WIDTH - len(text))

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        import torch

        time.sleep(max(float(job.input.get("seconds", 0)) for job in batch))
        if self._hungry:
            torch.empty(len(batch), ROW_BYTES, dtype=torch.uint8)
        if any(job.input.get("crash") for job in batch):
            os.kill(os.getpid(), signal.SIGSEGV)
        while any(job.input.get("hang") for job in batch):
            torch.ones(WIDTH, WIDTH) @ torch.ones(WIDTH, WIDTH)
        sums = self._net(torch.tensor([job.prepared for job in batch])).sum(1).tolist()
        for job, value in zip(batch, sums, strict=True):
            yield job.id, Finished(round(value, 4))
