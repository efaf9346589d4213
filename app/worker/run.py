"""A prediction in flight on this worker, and what becomes of its news: plain state, no thread, no
database."""

import time
from pathlib import Path
from typing import Any
from uuid import UUID

from app.domain.file_inputs import takes_files
from app.domain.phases import run_metrics
from app.domain.predictions import Prediction
from app.domain.webhooks import wants
from app.domain.work import FILE_KEY
from app.engine.work_items import Handle
from app.services.predictions.lifecycle import ProgressUpdate
from app.worker.tracker import Tracker


class Run:
    """What a cancel needs to reach the prediction, and what it has produced so far."""

    __slots__ = (
        "began",
        "canceled",
        "folder",
        "handed_back",
        "handle",
        "has_own_timeout",
        "in_batch",
        "metrics",
        "prediction",
        "reason",
        "submitted",
        "tracker",
        "written",
    )

    def __init__(self, prediction: Prediction) -> None:
        self.prediction = prediction
        self.tracker = Tracker()
        self.handle: Handle | None = None
        self.folder: Path | None = None
        self.canceled = prediction.cancel_requested
        self.has_own_timeout = False  # its caller allows it less time than its version does
        self.in_batch = False  # it has begun
        self.reason: str | None = None  # why it was stopped
        self.handed_back = False  # somebody else is to have it
        self.began = time.monotonic()
        self.submitted = 0.0  # when the engine got it
        self.metrics: dict[str, Any] = {}
        self.written = 0

    def cancel(self) -> None:
        """May come before the engine has the work, or after it has ended."""
        self.canceled = True
        if self.handle:
            self.handle.cancel()

    def hand_back(self) -> None:
        """Stops it, not for its caller but for another worker; may come before the engine has the work."""
        self.handed_back = True
        if self.handle:
            self.handle.cancel()

    def measure(self, device: str) -> None:
        """The attempt has ended: says where its time went, once."""
        if not self.metrics:
            now = time.monotonic()
            submitted = self.submitted or now
            of_engine = getattr(self.tracker.ending, "metrics", {})
            self.metrics = run_metrics(of_engine, submitted - self.began, now - submitted)
            self.metrics["device"] = device

    @property
    def fence(self) -> tuple[str, int, UUID]:
        """Id, attempt and the worker that claimed it."""
        prediction = self.prediction
        assert prediction.worker is not None
        return prediction.id, prediction.attempt, prediction.worker

    def progress_update(self) -> ProgressUpdate | None:
        """What has grown since the last call, to be written; None for nothing, or when the end is already
        known."""
        tracker, prediction = self.tracker, self.prediction
        if tracker.ending is not None or not tracker.changed:
            return None
        changed, tracker.changed = tracker.changed, set()
        files = any(isinstance(chunk, dict) for chunk in tracker.chunks)  # not stored before the end
        output = list(tracker.chunks) if "output" in changed and not files else None
        events = {"output": output is not None, "logs": "logs" in changed}
        tell = tuple(
            event
            for event, due in events.items()
            if due and prediction.webhook and wants(prediction.webhook_events, event)
        )
        self.written += 1
        logs = tracker.logs if "logs" in changed else None
        return ProgressUpdate(
            *self.fence, output, logs, tracker.progress, tell, prediction.attempt * 100_000 + self.written
        )


def has_files(output: Any) -> bool:
    """Whether an output names files that the model wrote."""
    if isinstance(output, dict):
        return FILE_KEY in output or any(has_files(value) for value in output.values())
    if isinstance(output, list) and output and not isinstance(output[0], (float, int, str)):
        return any(has_files(value) for value in output)
    return False


def may_write_files(schema: dict[str, Any]) -> bool:
    """Whether an output of this schema may hold files; a schema that does not say leaves it open."""
    if choices := schema.get("anyOf"):
        return any(may_write_files(choice) for choice in choices)
    kind = schema.get("type")
    if kind == "object" and schema.get("properties"):
        return any(may_write_files(field) for field in schema["properties"].values())
    if kind == "array":
        return may_write_files(schema.get("items", {}))
    if kind == "string":
        return schema.get("format") == "uri"
    return kind not in ("number", "integer", "boolean", "null")


def wants_files(given: dict[str, Any], schema: dict[str, Any]) -> bool:
    """Whether this input names files (fields of `format: uri`, lists of them included)."""
    properties = schema.get("properties", {})
    return any(value and takes_files(properties.get(name, {})) for name, value in given.items())
