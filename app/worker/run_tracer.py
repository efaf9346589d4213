"""The spans of an attempt, written when it is over from the times that it was measured by anyway."""

import time
from collections.abc import Callable

from app.domain.predictions import Status
from app.observe.tracing import Period, Tracing, now
from app.worker.run import Run

# What is measured, in its order, and what its span is called.
STEPS = (
    ("load", "load"),
    ("batch_wait", "wait for batch"),
    ("tokenise", "tokenise"),
    ("run", "batch"),
    ("post", "answer"),
)


Report = Callable[[Run, Status | None], None]  # of an attempt that is over, as `RunTracer.write` takes it


class RunTracer:
    """Thread-safe. Calls `then`, too."""

    def __init__(self, tracing: Tracing, device: str, then: Report) -> None:
        self._tracing, self._device = tracing, device
        self._then = then

    def write(self, run: Run, status: Status | None) -> None:
        """`status` None: it was handed back, or is another worker's."""
        self._then(run, status)
        prediction = run.prediction
        if prediction.traceparent is None:
            return
        ended, shift = now(), time.time() - time.monotonic()
        began = run.began + shift
        claimed = min(prediction.started_at.timestamp() if prediction.started_at else began, began)
        attributes = {
            "lovage.prediction": prediction.id,
            "lovage.request_id": prediction.request_id,
            "lovage.model": prediction.model,
            "lovage.attempt": prediction.attempt,
            "lovage.device": self._device,
            "lovage.status": status.value if status else "handed back",
            "lovage.batch_size": run.metrics.get("batch_size"),
        }
        whole, error = Period(claimed, ended), "failed" if status is Status.FAILED else None
        parent = self._tracing.write("process", prediction.traceparent, whole, "consumer", attributes, error)
        self._tracing.write("claim", parent, Period(claimed, began))
        self._write_steps(run, parent, began)
        if run.written_at:
            self._tracing.write("store", parent, Period(run.measured_at + shift, run.written_at + shift))
            self._tracing.write("finish", parent, Period(run.written_at + shift, ended))

    def _write_steps(self, run: Run, parent: str, began: float) -> None:
        """One after the other, as they are measured: without gaps."""
        at = began
        for name, shown in STEPS:
            if seconds := float(run.metrics.get(name) or 0.0):
                self._tracing.write(shown, parent, Period(at, at + seconds))
                at += seconds
