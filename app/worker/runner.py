"""One prediction from its claim to its recorded end, on one thread of the worker. Knows no Celery."""

import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from app.domain.errors import ModelFailed, PredictionError
from app.domain.predictions import Prediction, Status
from app.domain.webhooks import wants
from app.domain.work import Canceled, Crashed, Failed, ModelSpec, Work
from app.engine.engine import Engine
from app.engine.handle import Handle
from app.events.channels import ChunkFrame
from app.events.writer import EventWriter
from app.services.lifecycle import Ending, Growth, Return
from app.worker.inputs import Inputs
from app.worker.outputs import Outputs
from app.worker.recorder import Recorder
from app.worker.sources import Sources
from app.worker.tracker import Tracker
from app.worker.versions import Version, Versions

log = structlog.get_logger(__name__)

# Growing outputs and logs are written at most this often for one prediction; webhooks for them go out with the writes.
WRITE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how this worker runs models."""

    device: str
    threads: int
    run_timeout: float
    trusted: frozenset[str]


class Run:
    """A prediction in flight: what a cancel needs to reach it."""

    __slots__ = ("canceled", "handle", "prediction")

    def __init__(self, prediction: Prediction) -> None:
        self.prediction = prediction
        self.handle: Handle | None = None
        self.canceled = threading.Event()

    def cancel(self) -> None:
        """May come before the engine has the work, or after it has ended."""
        self.canceled.set()
        if self.handle:
            self.handle.cancel()


class Runner:
    """Thread-safe: `run` is called from many threads. `running` holds what is in flight, by id."""

    def __init__(
        self, engine: Engine, recorder: Recorder, events: EventWriter, versions: Versions, sources: Sources,
        inputs: Inputs, outputs: Outputs, place: Place,
    ) -> None:  # fmt: skip
        self._engine, self._recorder, self._events, self._versions = engine, recorder, events, versions
        self._sources, self._inputs, self._outputs, self._place = sources, inputs, outputs, place
        self.running: dict[str, Run] = {}

    def cancel(self, ids: list[str]) -> None:
        """Stops those of the ids that run here."""
        for prediction_id in ids:
            if run := self.running.get(prediction_id):
                run.cancel()

    def run(self, prediction: Prediction) -> Status | None:
        """Runs a claimed prediction to its end and records it. None: handed back, or no longer ours."""
        run = self.running[prediction.id] = Run(prediction)
        tracker = Tracker()
        folder: Path | None = None
        try:
            if prediction.cancel_requested:
                run.canceled.set()
            version = self._versions.get(prediction.version_id)
            folder = Path(tempfile.mkdtemp(prefix="lovage-"))
            self._follow(run, version, tracker, folder)
            return self._end(run, tracker, folder)
        except PredictionError as error:
            tracker.ending = Failed(error.detail, error.code)
            return self._end(run, tracker, folder)
        except Exception:
            log.exception("run_broken", prediction=prediction.id)
            tracker.ending = Failed(
                "Lovage itself failed while running this prediction; the worker's log says more.", ModelFailed.code
            )
            return self._end(run, tracker, folder)
        finally:
            self.running.pop(prediction.id, None)
            if folder:
                shutil.rmtree(folder, ignore_errors=True)

    def _follow(self, run: Run, version: Version, tracker: Tracker, folder: Path) -> None:
        """Feeds the tracker until the engine says how it ended."""
        writer = _GrowthWriter(run, tracker, self._recorder)

        def say(text: str) -> None:
            tracker.say(text)
            writer.write_if_due()

        spec = self._spec(version, say)
        work = self._work(run.prediction, version, folder)
        if run.canceled.is_set():
            tracker.ending = Canceled()
            return
        run.handle = self._engine.submit(spec, work)
        if run.canceled.is_set():
            run.handle.cancel()
        for event in run.handle.events():
            number = tracker.take(event)
            if number is not None and run.prediction.stream:
                frame = ChunkFrame(run.prediction.attempt, number, tracker.chunks[number])
                self._events.chunk(run.prediction.id, frame)
            writer.write_if_due()

    def _spec(self, version: Version, say: Any) -> ModelSpec:
        path = self._sources.local(version.source, say)
        trusted = version.source.removeprefix("hf:") in self._place.trusted
        return ModelSpec(
            version.id, version.model, version.runtime, version.task, path, version.config,
            self._place.device, self._place.threads, trusted,
        )  # fmt: skip

    def _work(self, prediction: Prediction, version: Version, folder: Path) -> Work:
        given = self._inputs.localize(prediction.input or {}, version.input_schema, folder)
        timeout = prediction.timeout or float(version.config.get("timeout", 0)) or self._place.run_timeout
        return Work(prediction.id, given, str(folder), timeout)

    def _end(self, run: Run, tracker: Tracker, folder: Path | None) -> Status | None:
        prediction, ending = run.prediction, tracker.ending
        fence = (prediction.id, prediction.attempt, prediction.worker or self._recorder.worker)
        if isinstance(ending, Crashed) and not run.canceled.is_set():
            self._recorder.give_back(Return(*fence, crashes=1, reason=ending.error))
            return None
        if isinstance(ending, Crashed):
            tracker.ending = ending = Canceled()
        output = tracker.output
        error, code = (
            (ending.error or "The model failed without a message.", ending.code) if isinstance(ending, Failed) else (None, None)
        )
        status = tracker.status
        began = time.monotonic()
        try:
            output = self._outputs.store(output, folder, prediction.id, prediction.attempt) if folder else output
        except PredictionError as problem:
            status, output, error, code = Status.FAILED, None, problem.detail, problem.code
        metrics = {**queue_seconds(prediction), **getattr(ending, "metrics", {}), "store": round(time.monotonic() - began, 6)}
        done = self._recorder.finish(
            Ending(*fence, status, output, error, code, tracker.logs, metrics, tracker.progress)
        )  # fmt: skip
        return status if done else None


def queue_seconds(prediction: Prediction) -> dict[str, float]:
    """From acceptance to this attempt's claim, by the database's clock."""
    if prediction.started_at is None:
        return {}
    return {"queue": round((prediction.started_at - prediction.created_at).total_seconds(), 6)}


class _GrowthWriter:
    """Writes what has grown, now and then: the first time after WRITE_SECONDS, so that short runs cost no extra write."""

    def __init__(self, run: Run, tracker: Tracker, recorder: Recorder) -> None:
        self._run, self._tracker, self._recorder = run, tracker, recorder
        self._next = time.monotonic() + WRITE_SECONDS
        self._number = 0

    def write_if_due(self) -> None:
        tracker = self._tracker
        if tracker.ending is not None or not tracker.changed or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + WRITE_SECONDS
        changed, tracker.changed = tracker.changed, set()
        self._number += 1
        if not self._recorder.grow(self._growth(changed)):
            log.info("no_longer_ours", prediction=self._run.prediction.id)
            self._run.cancel()

    def _growth(self, changed: set[str]) -> Growth:
        prediction, tracker = self._run.prediction, self._tracker
        files = any(isinstance(chunk, dict) for chunk in tracker.chunks)  # not stored before the end
        output = list(tracker.chunks) if "output" in changed and not files else None
        events = {"output": output is not None, "logs": "logs" in changed}
        tell = tuple(
            event for event, due in events.items() if due and prediction.webhook and wants(prediction.webhook_events, event)
        )
        return Growth(
            prediction.id, prediction.attempt, prediction.worker or self._recorder.worker, output,
            tracker.logs if "logs" in changed else None, tracker.progress, tell, prediction.attempt * 100_000 + self._number,
        )  # fmt: skip
