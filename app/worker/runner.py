"""Claimed predictions from the engine to their recorded end. Nothing here waits: what must (downloads, input
files, storing output files) runs on a few threads beside, the rest on the engine's own. Knows no Celery."""

import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from app.domain.errors import ModelFailed, PredictionError, RunTimeout
from app.domain.predictions import Prediction, Status
from app.domain.version_settings import number_of
from app.domain.work import Canceled, Crashed, Event, Failed, ModelSpec, Started, Work
from app.engine.capacity import UNMEASURED
from app.engine.engine import Engine
from app.events.channels import ChunkFrame
from app.events.writer import EventWriter
from app.services.predictions.lifecycle import Ending, HandBack, ProgressUpdate
from app.worker.inputs import Inputs
from app.worker.model_files import ModelFiles
from app.worker.outputs import Outputs
from app.worker.recorder import Recorder
from app.worker.run import Run, has_files, may_write_files, wants_files
from app.worker.version_cache import KEPT, Version, Versions

log = structlog.get_logger(__name__)

# Growing outputs and logs are written at most this often for one prediction; webhooks for them go out with
# the writes.
WRITE_SECONDS = 0.5
SCRATCH = "lovage-worker-"  # then the worker's process id
THREADS = 32  # downloads, input files and storing at once
TOO_LONG = "It ran longer than its timeout of {:g} s."
BROKEN = "Lovage itself failed while running this prediction; the worker's log says more."

Ended = Callable[[Prediction, Status | None], None]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where and how this worker runs models."""

    device: str
    threads: int
    run_timeout: float
    trusted: frozenset[str]
    name: str = ""  # of the device, where it is not torch's

    @property
    def label(self) -> str:
        """The device as metrics name it."""
        return self.name or self.device


class Runner:
    """Thread-safe. `running` holds what is in flight, by id. `ended` hears of every end: its status, or None
    when the prediction was handed back or is no longer ours."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        events: EventWriter,
        versions: Versions,
        model_files: ModelFiles,
        inputs: Inputs,
        outputs: Outputs,
        options: RunOptions,
    ) -> None:
        self._engine, self._recorder, self._events, self._versions = engine, recorder, events, versions
        self._model_files, self._inputs, self._outputs, self._options = model_files, inputs, outputs, options
        self.ended: Ended = lambda prediction, status: None
        self.running: dict[str, Run] = {}
        self.draining = (
            False  # then what the engine drops is handed back by `Lifecycle.give_back_all`, not as a crash
        )
        self._known: dict[str, tuple[Version, ModelSpec]] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="runner")
        forget_scratch_of_the_dead()
        self._scratch = Path(tempfile.mkdtemp(prefix=f"{SCRATCH}{os.getpid()}-"))
        self._stop = threading.Event()
        self._writer = threading.Thread(target=self._save_progress_loop, name="growth", daemon=True)
        self._writer.start()

    def cancel(self, ids: Sequence[str]) -> None:
        """Stops those of the ids that run here."""
        for prediction_id in ids:
            if run := self.running.get(prediction_id):
                run.cancel()

    def hand_back_waiting(self) -> None:
        """Hands back what no batch has begun, for another worker to begin at once; what runs goes on."""
        for run in list(self.running.values()):
            if not run.in_batch and not run.canceled:
                run.hand_back()

    def start(self, predictions: Sequence[Prediction]) -> None:
        """Runs claimed predictions, each to its recorded end; returns at once."""
        ready: dict[str, tuple[ModelSpec, list[tuple[Run, Work]]]] = {}
        for prediction in predictions:
            if (held := self.running.get(prediction.id)) and held.fence == (
                prediction.id,
                prediction.attempt,
                prediction.worker,
            ):
                log.info(
                    "claimed_again", prediction=prediction.id
                )  # Postgres crashed and forgot the claim that it runs by
                continue
            run = self.running[prediction.id] = Run(prediction)
            version, spec = self._known.get(prediction.version_id, (None, None))
            given = prediction.input or {}
            if version is None or spec is None or not self._quick(version, given):
                self._threads.submit(self._guarded, run, self._prepare)
                continue
            ready.setdefault(spec.version, (spec, []))[1].append((run, self._work(run, version, given)))
        for spec, group in ready.values():
            self._submit(spec, group)

    def capacity(self) -> dict[str, int]:
        """How many more predictions this worker should take of each version that it knows: two batches' worth
        and what runs in two seconds, less those it holds, fetching their files included."""
        held = Counter(run.prediction.version_id for run in list(self.running.values()))
        limits = self._engine.limits()
        return {
            version: max(0, limits.get(version, UNMEASURED) - held[version])
            for version in limits.keys() | held.keys()
        }

    def _quick(self, version: Version, given: dict[str, Any]) -> bool:
        """Whether nothing has to be fetched before the engine can have it."""
        return self._engine.is_ready(version.id) and not wants_files(given, version.input_schema)

    def _guarded(self, run: Run, step: Callable[[Run], None]) -> None:
        """Whatever goes wrong in a step is the prediction's end."""
        try:
            step(run)
        except PredictionError as error:
            self._fail(run, Failed(error.detail, error.code))
        except Exception:  # a bug in a step is this prediction's end, not the worker's
            log.exception("run_broken", prediction=run.prediction.id)
            self._fail(run, Failed(BROKEN, ModelFailed.code))

    def _fail(self, run: Run, failure: Failed) -> None:
        run.measure(self._options.label)
        run.tracker.ending = failure
        self._record(run, None)

    def _prepare(self, run: Run) -> None:
        """The slow way to the engine: looks the version up, fetches its files and the input's."""
        version, spec = self._fetched(run.prediction.version_id, run.tracker.say)
        given = run.prediction.input or {}
        if wants_files(given, version.input_schema):
            run.folder = self._folder(run)
            run.folder.mkdir()
            given = self._inputs.localize(given, version.input_schema, run.folder)
        self._submit(spec, [(run, self._work(run, version, given))])

    def _folder(self, run: Run) -> Path:
        """For the files of one attempt; not made here."""
        return self._scratch / f"{run.prediction.id}-{run.prediction.attempt}"

    def _fetched(self, version_id: str, say: Callable[[str], None]) -> tuple[Version, ModelSpec]:
        version = self._versions.get(version_id)
        path = self._model_files.local(version.source, say)
        trusted = version.source.removeprefix("hf:") in self._options.trusted
        spec = ModelSpec(
            version.id,
            version.model,
            version.runtime,
            version.task,
            path,
            version.config,
            self._options.device,
            self._options.threads,
            trusted,
        )
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known[version.id] = (version, spec)
        return version, spec

    def spec_of(self, version_id: str) -> ModelSpec:
        """What the engine loads for a version, its files fetched. Blocks. Raises ModelUnavailable."""
        return self._fetched(
            version_id, lambda text: log.info("fetching", version=version_id, said=text.strip())
        )[1]

    def _work(self, run: Run, version: Version, given: dict[str, Any]) -> Work:
        if run.folder is None and may_write_files(version.output_schema):
            run.folder = self._folder(run)
        limit = number_of(version.config, "timeout") or self._options.run_timeout
        asked = run.prediction.timeout
        run.has_own_timeout = asked is not None and asked < limit
        timeout = asked if asked is not None and run.has_own_timeout else limit
        return Work(run.prediction.id, given, str(run.folder or ""), timeout)

    def _submit(self, spec: ModelSpec, group: Sequence[tuple[Run, Work]]) -> None:
        wanted = []
        for run, work in group:
            if run.canceled or run.handed_back:
                self._on_event(run, Canceled())
            else:
                wanted.append((run, work))
        now = time.monotonic()
        for run, _ in wanted:
            run.submitted = now
        handles = self._engine.submit_all(
            spec, [(work, partial(self._on_event, run)) for run, work in wanted]
        )
        for (run, _), handle in zip(wanted, handles, strict=True):
            run.handle = handle
            if run.canceled or run.handed_back:
                handle.cancel()

    def _on_event(self, run: Run, event: Event) -> None:
        """Called by the engine's threads, which must not be kept waiting."""
        try:
            run.in_batch = run.in_batch or isinstance(event, Started)
            number = run.tracker.take(event)
            if number is not None and run.prediction.stream:
                self._events.chunk(
                    run.prediction.id, ChunkFrame(run.prediction.attempt, number, run.tracker.chunks[number])
                )
            if run.tracker.ending is not None:
                self._end(run, run.tracker.ending)
        except Exception:  # a bug in one event must not end the engine's thread
            log.exception("event_broken", prediction=run.prediction.id)
            self._fail(run, Failed(BROKEN, ModelFailed.code))

    def _end(self, run: Run, ending: Any) -> None:
        if isinstance(ending, Canceled) and run.handed_back and not run.canceled:
            self._threads.submit(self._hand_back_run, run, HandBack(*run.fence))
            return
        if isinstance(ending, Crashed) and not run.canceled:
            if self.draining:
                self._ended(run, None)
            else:
                self._threads.submit(
                    self._hand_back_run, run, HandBack(*run.fence, crashes=1, reason=ending.error)
                )
            return
        if isinstance(ending, Crashed):
            run.tracker.ending = Canceled()
        run.measure(self._options.label)
        if run.has_own_timeout and isinstance(ending, Failed) and ending.code == RunTimeout.code:
            run.tracker.ending, run.reason = Canceled(), TOO_LONG.format(run.prediction.timeout)
        output = run.tracker.output
        if run.folder and has_files(output):
            self._threads.submit(self._guarded, run, self._store)
        else:
            self._record(run, output)

    def _hand_back_run(self, run: Run, one: HandBack) -> None:
        try:
            self._recorder.hand_back(one)
        except Exception:  # its slot is free all the same; the heartbeat gives back what does not run here
            log.exception("give_back_broken", prediction=one.id)
        self._ended(run, None)

    def _store(self, run: Run) -> None:
        assert run.folder is not None
        if not self._recorder.save_progress([ProgressUpdate(*run.fence)])[0]:
            log.info(
                "no_longer_ours", prediction=run.prediction.id
            )  # a worker that slept past its lease leaves no file behind
            self._ended(run, None)
            return
        self._record(
            run,
            self._outputs.store(run.tracker.output, run.folder, run.prediction.id, run.prediction.attempt),
        )

    def _record(self, run: Run, output: Any) -> None:
        tracker, ending = run.tracker, run.tracker.ending
        error, code = run.reason, None
        if isinstance(ending, Failed):
            error, code = ending.error or "The model failed without a message.", ending.code
        status, on_recorded = tracker.status, bool(run.prediction.webhook)
        self._recorder.finish(
            Ending(
                *run.fence,
                status,
                output,
                error,
                code,
                tracker.logs,
                run.metrics,
                tracker.progress,
                on_recorded,
            ),
            lambda written: self._ended(run, status if written else None),
        )

    def _ended(self, run: Run, status: Status | None) -> None:
        self.running.pop(run.prediction.id, None)
        if run.folder and run.folder.exists():
            self._threads.submit(shutil.rmtree, run.folder, ignore_errors=True)
        if run.folder and status is not None and run.prediction.attempt > 1:
            self._threads.submit(self._forget_others, run)
        self.ended(run.prediction, status)

    def _forget_others(self, run: Run) -> None:
        try:
            self._outputs.forget_others(run.prediction.id, run.prediction.attempt)
        except PredictionError as error:
            log.warning("old_files_left", prediction=run.prediction.id, reason=error.detail)

    def _save_progress_loop(self) -> None:
        while not self._stop.wait(WRITE_SECONDS):
            try:
                self._save_progress(time.monotonic() - WRITE_SECONDS)
            except Exception:  # one bad write must not end the saving of progress
                log.exception("growth_broken")

    def _save_progress(self, begun_before: float) -> None:
        """One statement for all that have grown; short runs cost no extra write."""
        due = [run for run in list(self.running.values()) if run.began < begun_before and run.tracker.changed]
        grown: list[tuple[Run, ProgressUpdate]] = [
            (run, news) for run in due if (news := run.progress_update())
        ]
        if not grown:
            return
        for (run, _), ours in zip(
            grown, self._recorder.save_progress([news for _, news in grown]), strict=True
        ):
            if not ours and run.tracker.ending is None:
                log.info("no_longer_ours", prediction=run.prediction.id)
                run.cancel()

    def close(self) -> None:
        """Nothing runs any more."""
        self._stop.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        shutil.rmtree(self._scratch, ignore_errors=True)


def forget_scratch_of_the_dead() -> None:
    """Removes the folders of workers of this machine that were killed: nobody else will."""
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        pid = folder.name.removeprefix(SCRATCH).partition("-")[0]
        if pid.isdecimal() and not lives(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def lives(pid: int) -> bool:
    """Whether this machine has a process of that id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
