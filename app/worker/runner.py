"""Claimed predictions from the engine to their recorded end. Nothing here waits: what must (look-ups, input
files, storing output files, hand-backs) runs on a few threads of its own kind, the rest on the engine's.
Knows no Celery."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import structlog

from app.domain.errors import ModelFailed, PredictionError, Unavailable
from app.domain.fair_shares import FairShares
from app.domain.file_inputs import names_files
from app.domain.predictions import REQUESTED, Prediction, Status
from app.domain.work import Canceled, Chunk, Crashed, Event, Failed, Started, Work, list_files
from app.engine.capacity import left_of
from app.events.takeover import StreamTakeover
from app.events.writer import EventWriter
from app.json_text import JsonText
from app.outbound.deadline import CallCanceled
from app.services.predictions.attempts import Ending, HandBack
from app.services.predictions.lifecycle import Lifecycle
from app.services.predictions.stored_values import INLINE_BYTES, facts_of
from app.worker.direct_runs import NOBODY, Listeners, await_opened, once_opened
from app.worker.ending_writer import EndingWriter
from app.worker.identity import WorkerIdentity
from app.worker.outputs import Outputs
from app.worker.preparation import Preparation, ReadyVersion, RunOptions
from app.worker.progress_saver import ProgressSaver
from app.worker.run import InFlight, Run, Stop, owes_start
from app.worker.run_preparer import RunPreparer
from app.worker.run_tracer import Report
from app.worker.runner_threads import RunnerThreads
from app.worker.scratch import RunFolders, make_scratch, remove_scratch_of_the_dead
from app.worker.work_engine import WorkEngine

log = structlog.get_logger(__name__)

BROKEN = "Lovage itself failed while running this prediction; the worker's log says more."

ANONYMOUS = "anonymous"  # callers without an account answer together for what they do

ID = attrgetter("id")
OnEnded = Callable[[Prediction, Status | None], None]


class Runner:
    """Thread-safe. `in_flight` is what runs here, `shares` what users were given of its time. `on_ended` is
    called at every end: with its status, or None when the prediction was handed back or is no longer ours.
    `draining`: what the engine drops is handed back by `Lifecycle.hand_back_all`, not as a crash."""

    def __init__(
        self,
        engine: WorkEngine,
        lifecycle: Lifecycle,
        identity: WorkerIdentity,
        ending_writer: EndingWriter,
        events: EventWriter,
        takeover: StreamTakeover,
        preparation: Preparation,
        outputs: Outputs,
        options: RunOptions,
    ) -> None:
        self._engine, self._lifecycle = engine, lifecycle
        self._identity, self._ending_writer = identity, ending_writer
        self._events, self._preparation = events, preparation
        self._outputs, self._device = outputs, options.label
        self.on_ended: OnEnded = lambda prediction, status: None
        self.report: Report = _log_end
        self.in_flight, self.shares = InFlight(), FairShares(engine.pace)
        self.draining = False
        self._threads = RunnerThreads()
        begin = partial(_take_over, takeover)
        self._preparer = RunPreparer(
            preparation, self._threads, self._guard, self._folder, self._on_ready, begin
        )
        remove_scratch_of_the_dead()
        self._folders = RunFolders(make_scratch())
        self._progress = ProgressSaver(lifecycle, self.in_flight)
        self._progress.start()

    def capacity(self, *, held_back: bool = True) -> dict[str, int]:
        """How many more of each version it takes; of what was handed over only without `held_back`."""
        closed = self.in_flight.held_back() if held_back else ()
        return left_of(self._engine.limits(), self.in_flight.count_by_version(), closed)

    def start(self, predictions: Sequence[Prediction], listeners: Listeners = NOBODY) -> None:
        """Runs claimed predictions, each to its recorded end; returns at once. `listeners` by their ids."""
        groups: dict[str, tuple[ReadyVersion, list[tuple[Run, Work]]]] = {}
        for prediction in sorted(predictions, key=ID):
            run = Run(prediction, listeners.get(prediction.id))
            if not self.in_flight.add(run):  # Postgres crashed and forgot the claim that it runs by
                log.info("claimed_again", **prediction.log_names)
                continue
            run.charge = self.shares.charge(prediction)
            if prediction.worker != self._identity.id:  # declared dead while it claimed
                run.stop(Stop.DROP)
                self._on_event(run, Canceled())
                continue
            version, values = self._preparation.ready.get(prediction.version_id), prediction.input or {}
            if version is None or _needs_more(prediction) or not _is_quick(self._engine, version, values):
                self._preparer.prepare(run)
                continue
            work = self._work(run, version, values)
            groups.setdefault(version.spec.version, (version, []))[1].append((run, work))
        for version, group in groups.values():
            self._submit(version, group)

    def _guard(self, run: Run, step: Callable[[Run], None]) -> None:
        """Whatever goes wrong in a step is the prediction's end, but for a database that is away: then
        another attempt takes it up."""
        try:
            step(run)
        except (CallCanceled, CancelledError):
            self._on_event(run, Canceled())
        except PredictionError as error:
            self._fail(run, Failed(error.detail, error.code))
        except Unavailable as error:
            log.warning("step_without_database", **run.prediction.log_names, reason=error.detail)
            self._hand_back(run, HandBack(*run.fence))
        except Exception:  # an end with a reason, whatever it is, and not a slot that is lost
            log.exception("run_broken", **run.prediction.log_names)
            self._fail(run, Failed(BROKEN, ModelFailed.code))

    def _fail(self, run: Run, failure: Failed) -> None:
        run.measure(self._device)
        run.ending = failure
        self._record(run, run.output_shown)

    def _on_ready(self, run: Run, version: ReadyVersion, values: dict[str, Any]) -> None:
        self._submit(version, [(run, self._work(run, version, values))])

    def _folder(self, run: Run) -> Path:
        return self._folders.scratch / f"{run.prediction.id}-{run.prediction.attempt}"

    def _work(self, run: Run, version: ReadyVersion, values: dict[str, Any]) -> Work:
        if run.folder is None and version.may_write_files:
            run.folder = self._folder(run)
        own = run.prediction.timeout
        run.has_own_timeout = own is not None and own < version.timeout
        return _work_of(run, values, min(own or version.timeout, version.timeout))

    def _submit(self, version: ReadyVersion, group: Sequence[tuple[Run, Work]]) -> None:
        now, submitted = time.monotonic(), []
        for run, work in group:
            if run.stopped is None:
                run.submitted = now
                submitted.append((run, work))
            else:
                self._on_event(run, Canceled())
        items = [(work, partial(self._on_event, run)) for run, work in submitted]
        handles = self._engine.submit_all(version.spec, items)
        for (run, _), handle in zip(submitted, handles, strict=True):
            run.handle = handle
            if run.stopped is not None:
                handle.cancel()

    def _on_event(self, run: Run, event: Event) -> None:
        """Called by the engine's threads, which must not be kept waiting."""
        try:
            frame = run.on_event(event)
            if isinstance(event, Started):
                _on_started(run, self.shares, self._lifecycle, self._progress)
            if frame and run.prediction.stream and isinstance(event, Chunk):
                self._events.chunk(run.prediction.id, frame, event.state)
            if run.listener:
                run.listener.on_event(event)
            if run.ending is not None:
                self._end(run)
        except Exception:  # an end with a reason, whatever it is, and not a slot that is lost
            log.exception("event_broken", **run.prediction.log_names)
            self._fail(run, Failed(BROKEN, ModelFailed.code))

    def _end(self, run: Run) -> None:
        if hand_back := run.hand_back():
            if self.draining and isinstance(run.ending, Crashed):
                self._ended(run, None)
            else:
                self._threads.hand_backs.submit(self._hand_back, run, hand_back)
            return
        run.conclude(self._device)
        if run.folder and list_files(run.output):
            self._threads.stores.submit(run.prediction.user_id, partial(self._guard, run, self._store))
        else:
            self._record(run, run.output)

    def _hand_back(self, run: Run, hand_back: HandBack) -> None:
        await_opened(run.listener)
        self._ended(run, _handed_back(self._lifecycle, run, hand_back))

    def _store(self, run: Run) -> None:
        """Its files first."""
        assert run.folder is not None
        if self._progress.is_ours(run):
            stored = self._outputs.store(run.output, run.folder, *run.fence[:2], partial(_is_unwanted, run))
            output, run.file_bytes = stored
            self._record(run, output)
        else:
            self._ended(run, None)

    def _record(self, run: Run, output: Any) -> None:
        text = run.as_json(output)
        if text and len(text) > INLINE_BYTES:
            store = partial(self._store_output, output=output, text=text)
            self._threads.stores.submit(run.prediction.user_id, partial(self._guard, run, store))
        else:
            self._write(run, run.as_ending(text))

    def _store_output(self, run: Run, output: Any, text: JsonText) -> None:
        """A long output is a file."""
        if not self._progress.is_ours(run):
            return self._ended(run, None)
        key = self._outputs.store_value(text, run.prediction.id, run.prediction.attempt)
        facts = facts_of(output, text, streamed=run.prediction.stream)
        self._write(run, run.as_ending(facts, len(text), key))

    def _write(self, run: Run, ending: Ending) -> None:
        status, run.written_at = run.status, time.monotonic()
        write = partial(
            self._ending_writer.write, ending, lambda ours: self._ended(run, status if ours else None)
        )
        if run.listener:
            once_opened(run.listener, write)
        else:
            write()

    def _ended(self, run: Run, status: Status | None) -> None:
        self.in_flight.remove(run)
        if run.prediction.not_here:
            self._preparer.release(run)
        self.shares.correct(run.charge, _device_seconds(run))
        self.report(run, status)
        if run.folder:
            self._folders.ended.append(run.folder.name)
        if run.folder and status is not None and run.prediction.attempt > 1:
            self._threads.removals.submit(self._outputs.forget_others, *run.fence[:2])
        if run.listener:
            run.listener.on_recorded(status)
        self.on_ended(run.prediction, status)

    def close(self) -> None:
        """Nothing runs any more."""
        self._progress.stop()
        self._preparation.close()
        self._threads.close()
        self._folders.close()


def _on_started(run: Run, shares: FairShares, lifecycle: Lifecycle, progress: ProgressSaver) -> None:
    """Its model has it in hand."""
    if run.charge:
        shares.begin(run.charge)
    if not run.listener:  # of others that was published when they were written
        lifecycle.begin([run.prediction])
    if owes_start(run):
        progress.hurry()


def _handed_back(lifecycle: Lifecycle, run: Run, hand_back: HandBack) -> Status | None:
    """The status that it has ended with; None: it waits again, or nobody knows."""
    ended: Sequence[Prediction] = ()
    try:
        ended = lifecycle.hand_back([hand_back])
    except Unavailable:
        log.warning("hand_back_left_to_heartbeat", **run.prediction.log_names)
    except Exception:  # its slot is free all the same; the heartbeat hands back what does not run here
        log.exception("hand_back_broken", **run.prediction.log_names)
    return ended[0].status if ended else None


def _is_unwanted(run: Run) -> bool:
    """Whether its output need not be stored: its caller or its deadline has ended it meanwhile. What was
    streamed stays its output."""
    return run.stopped is Stop.CANCEL and not run.chunks


def _device_seconds(run: Run) -> float | None:
    """Its part of the time of its batch, once measured; 0 when it never began, None when nobody can say."""
    if "run" in run.metrics:
        return float(run.metrics["run"]) / max(1, run.metrics.get("batch_size") or 1)
    return None if run.in_batch else 0.0


def _log_end(run: Run, status: Status | None) -> None:
    """One line for each end, always of a failed one. The error's text stays in the record: it may repeat
    inputs."""
    prediction = run.prediction
    if status is Status.FAILED:
        code = run.ending.code if isinstance(run.ending, Failed) else "crashed"
        log.info("prediction_failed", **prediction.log_names, model=prediction.model, code=code)
    elif status is not None and logging.root.isEnabledFor(logging.DEBUG):  # one for every prediction
        log.debug("prediction_ended", **prediction.log_names, model=prediction.model, status=status.value)


def _is_quick(engine: WorkEngine, version: ReadyVersion, values: dict[str, Any]) -> bool:
    """Whether nothing has to be fetched before the engine can have it."""
    return engine.is_ready(version.spec.version) and not names_files(version.file_inputs, values)


def _work_of(run: Run, values: dict[str, Any], timeout: float) -> Work:
    caller = str(run.prediction.user_id or ANONYMOUS)
    rank = run.charge.rank if run.charge else 0.0
    tensors = run.listener.tensors if run.listener else None
    folder, routing = str(run.folder or ""), (run.prediction.routing or {}).get(REQUESTED)
    return Work(run.prediction.id, values, folder, timeout, run.delivered, caller, rank, tensors, routing)


def _is_resumed(prediction: Prediction) -> bool:
    """Whether an earlier attempt may have given some of its output out."""
    return prediction.stream and prediction.attempt > 1


def _needs_more(prediction: Prediction) -> bool:
    """Whether something is to be read before it can run."""
    return bool(prediction.not_here) or _is_resumed(prediction)


def _take_over(streams: StreamTakeover, run: Run) -> None:
    prediction = run.prediction
    if not _is_resumed(prediction):
        return
    recorded = run.delivered.chunks if run.delivered else []
    had = streams.take_over(prediction.id, prediction.attempt, recorded, prediction.generation)
    run.go_on_with(*had)
