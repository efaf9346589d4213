"""An attempt in flight on this worker, what it has produced so far, and all of them together: plain state, no
thread, no database."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from enum import IntEnum, auto
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import structlog

from app.domain.errors import ModelFailed, RunTimeout
from app.domain.fair_shares import Charge, User
from app.domain.phases import run_metrics
from app.domain.predictions import Prediction, Status
from app.domain.streamed_output import output_of
from app.domain.webhooks import EVENTS_OF_ATTEMPT, wants
from app.domain.work import (
    Canceled,
    Chunk,
    Crashed,
    Delivered,
    Event,
    Failed,
    Finished,
    Log,
    Progress,
    Restarted,
    Started,
    cut_error,
    list_files,
)
from app.engine.work_items import Handle
from app.events.channels import ChunkFrame
from app.json_text import JsonText
from app.services.predictions.attempts import Ending, HandBack, ProgressUpdate
from app.worker.direct_runs import Listener

log = structlog.get_logger(__name__)

LOG_LIMIT = 200_000  # characters kept of a prediction's logs: the end is what people look for
TOO_LONG = "It ran longer than its timeout of {:g} s."
NOT_STORABLE = "The model's answer could not be stored."
NO_MESSAGE = "The model failed without a message."
UNASKED_CANCEL = "its model reported a cancel that nobody asked for"

Answer = TypeVar("Answer")
# An output that begins anew gets a number that is greater than any before: of its attempt, and how often that
# was within it. The engine gives an item up long before the thousandth time.
GENERATIONS = 1_000

Fence = tuple[str, int, UUID]  # id, attempt and the worker that claimed it


class Stop(IntEnum):
    """Why a run is stopped; of two reasons the greater counts. HAND_BACK: another worker is to have it.
    HAND_OVER: so, and any of this one's class. CANCEL: its caller or its deadline asked. DROP: it is not this
    worker's any more, so nothing may be recorded of it."""

    HAND_BACK = auto()
    HAND_OVER = auto()
    CANCEL = auto()
    DROP = auto()


class Run:
    """What a cancel needs to reach the attempt, and what it has produced. `ending` is set by the last event;
    `changed` names what is to be written. Of the `chunks`, readers are shown those before the first with a
    file, which is stored at the end: `shown` is their number. It goes on with what was `delivered` before."""

    __slots__ = (
        "batch_at",
        "began",
        "begun_written",
        "changed",
        "charge",
        "chunks",
        "delivered",
        "ending",
        "file_bytes",
        "folder",
        "generation",
        "handle",
        "has_own_timeout",
        "in_batch",
        "listener",
        "logs",
        "measured_at",
        "metrics",
        "prediction",
        "progress",
        "reason",
        "saved_at",
        "sent_output",
        "shown",
        "stopped",
        "submitted",
        "updates",
        "written_at",
    )

    def __init__(self, prediction: Prediction, listener: Listener | None = None) -> None:
        self.prediction, self.listener = prediction, listener
        self.handle: Handle | Future[Any] | None = None  # whatever it waits for
        self.folder: Path | None = None
        self.file_bytes: int | None = None  # of the files that it has stored
        self.stopped: Stop | None = Stop.CANCEL if prediction.cancel_requested else None
        self.has_own_timeout = self.in_batch = self.sent_output = False  # less than its version's; begun
        self.batch_at = self.saved_at = 0.0  # when its batch began; when its progress was last written
        self.begun_written = False
        self.reason: str | None = None  # why it was canceled
        self.charge: Charge | None = None  # to its user's share
        self.began, self.submitted = time.monotonic(), 0.0  # the second: when the engine got it
        self.measured_at = self.written_at = 0.0  # when the engine had ended it; when its output was stored
        self.metrics: dict[str, Any] = {}
        self.chunks: list[Any] = []
        self.shown = self.updates = 0
        self.generation, self.logs = prediction.generation, opening_logs(prediction)
        self.delivered: Delivered | None = None
        if isinstance(prediction.output, list):
            self.go_on_with(Delivered(prediction.output, [None] * len(prediction.output)), self.generation)
        self.progress: dict[str, int] | None = None
        self.ending: Finished | Failed | Canceled | Crashed | None = None
        self.changed: set[str] = set()

    @property
    def fence(self) -> Fence:
        prediction = self.prediction
        assert prediction.worker is not None
        return prediction.id, prediction.attempt, prediction.worker

    def stop(self, reason: Stop) -> None:
        """May come before the engine has the work, or after it has ended."""
        if self.stopped is None or reason > self.stopped:
            self.stopped = reason
        if self.handle:
            self.handle.cancel()

    def wait_for(self, future: "Future[Answer]", then: "Callable[[Run, Future[Answer]], object]") -> None:
        """Calls `then` when it is done; stopping the run cancels it."""
        self.handle = future
        future.add_done_callback(partial(then, self))
        if self.stopped is not None:
            future.cancel()

    def go_on_with(self, delivered: Delivered, generation: int) -> None:
        """Before the engine has it: this is what readers have had."""
        self.delivered, self.generation = delivered, generation
        self.chunks = list(delivered.chunks)
        self.shown = len(self.chunks)

    def on_event(self, event: Event) -> ChunkFrame | None:
        """Records an event; what of it can be published live."""
        match event:
            case Started():
                self.in_batch, self.batch_at = True, time.monotonic()
            case Chunk(data):
                self.chunks.append(data)
                return show(self, data)
            case Restarted():
                self.generation = max(self.generation, self.prediction.attempt * GENERATIONS) + 1
                self.chunks, self.shown = [], 0
                self.changed.add("output")
            case Log(text):
                self.log(text)
            case Progress(done, total):
                self.progress = {"done": done, "total": total}
                self.changed.add("progress")
            case _:
                self.ending = event
        return None

    def log(self, text: str) -> None:
        """Adds to the logs. NUL cannot be stored in Postgres."""
        self.logs = (self.logs + text.replace("\x00", "\ufffd"))[-LOG_LIMIT:]
        self.changed.add("logs")

    def measure(self, device: str) -> None:
        """The attempt has ended: says where its time went, once."""
        if not self.metrics:
            now = self.measured_at = time.monotonic()
            submitted = self.submitted or now
            by_engine = getattr(self.ending, "metrics", {})
            self.metrics = run_metrics(by_engine, submitted - self.began, now - submitted)
            self.metrics["device"] = device

    def hand_back(self) -> HandBack | None:
        """How an ending that is no answer goes back to waiting; None for one that is to be recorded. A cancel
        is recorded only where the caller or a deadline asked for it."""
        match self.ending, self.stopped:
            case Crashed() | Canceled(), Stop.CANCEL:
                return None
            case Crashed(reason), _:
                return HandBack(*self.fence, crashes=1, reason=reason)
            case Canceled(), None:
                return HandBack(*self.fence, crashes=1, reason=UNASKED_CANCEL)
            case Canceled(), _:
                return HandBack(*self.fence, to_class=self.stopped is Stop.HAND_OVER)
        return None

    def conclude(self, device: str) -> None:
        """The ending is to be recorded: a crash of what was canceled counts as the cancel, and so does the
        end of the caller's own time."""
        if isinstance(self.ending, Crashed):
            self.ending = Canceled()
        self.measure(device)
        if self.has_own_timeout and isinstance(self.ending, Failed) and self.ending.code == RunTimeout.code:
            self.reason = TOO_LONG.format(self.prediction.timeout)
            self.ending = Canceled()

    def as_json(self, output: Any) -> JsonText | None:
        """An output for `as_ending`. One that JSON cannot hold (a lone surrogate, an integer of more than 64
        bits) makes the ending a failure."""
        try:
            return None if output is None else JsonText.from_value(output)
        except TypeError:
            self.ending = Failed(NOT_STORABLE, ModelFailed.code)
            return None

    def as_ending(self, output: JsonText | None, output_bytes: int = 0, key: str | None = None) -> Ending:
        """What is recorded of it; `output` with its files stored. `key`: its own, as in Ending."""
        error, code = self.reason, None
        if isinstance(self.ending, Failed):
            error, code = cut_error(self.ending.error) or NO_MESSAGE, self.ending.code
        return Ending(
            *self.fence,
            self.status,
            output,
            error,
            code,
            self.logs,
            self.metrics,
            self.progress,
            self.generation,
            bool(self.prediction.webhook),
            output_bytes or (len(output) if output else None),
            key,
            file_bytes=self.file_bytes,
            owes_start=owes_start(self),
            owes_output=owes_output(self) and (output is not None or key is not None),
        )

    @property
    def status(self) -> Status:
        """The terminal status that the ending stands for."""
        if isinstance(self.ending, Finished):
            return Status.SUCCEEDED
        return Status.CANCELED if isinstance(self.ending, Canceled) else Status.FAILED

    @property
    def output(self) -> Any:
        """What was streamed, if anything was; else the whole output, at the end."""
        return output_of(self.chunks, self.ending.recorded if isinstance(self.ending, Finished) else None)

    @property
    def output_shown(self) -> Any:
        """What of it readers have had."""
        return self.chunks[: self.shown] or None


def opening_logs(prediction: Prediction) -> str:
    """What was said to its caller when it was accepted."""
    return "".join(f"{warning}\n" for warning in prediction.warnings)


def take_progress(run: Run) -> ProgressUpdate | None:
    """What has changed since the last call, to be written; None for nothing, or when it has ended."""
    is_begun_now = run.in_batch and not run.begun_written
    if run.ending is not None or not (run.changed or is_begun_now):
        return None
    changed, run.changed = run.changed, set()
    run.saved_at = time.monotonic()
    output = run.output_shown or [] if "output" in changed else None
    events = due_events(run, output=output is not None, logs="logs" in changed)
    run.updates += 1
    number = run.prediction.attempt * EVENTS_OF_ATTEMPT + run.updates
    generation = None if output is None else run.generation
    logs = run.logs if "logs" in changed else None
    return ProgressUpdate(*run.fence, output, logs, run.progress, run.in_batch, generation, events, number)


def due_events(run: Run, **due: bool) -> tuple[str, ...]:
    """The events that its webhook is to have of what has changed."""
    webhook, chosen = run.prediction.webhook, run.prediction.webhook_events
    events = tuple(event for event in due if due[event] and webhook and wants(chosen, event))
    run.sent_output = run.sent_output or "output" in events
    return ("start", *events) if owes_start(run) else events


def owes_start(run: Run) -> bool:
    """Whether its caller asked for an event of its beginning, it has begun, and none is written."""
    chosen = run.prediction.webhook_events or ()
    return run.in_batch and not run.begun_written and bool(run.prediction.webhook) and "start" in chosen


def owes_output(run: Run) -> bool:
    """Whether its caller asked for events of its output by name, and it was too short for any."""
    is_wanted = run.prediction.webhook and "output" in (run.prediction.webhook_events or ())
    return bool(is_wanted and not run.sent_output)


def show(run: Run, data: Any) -> ChunkFrame | None:
    """The newest chunk as its readers get it; None from the first on that holds a file."""
    number = len(run.chunks) - 1
    if run.shown < number or list_files(data):
        return None
    run.shown += 1
    run.changed.add("output")
    return ChunkFrame(run.prediction.attempt, number, data, run.generation)


class InFlight:
    """The runs of a worker, by their fences: a late end of attempt 1 never removes attempt 2. Thread-safe."""

    def __init__(self) -> None:
        self._runs: dict[Fence, Run] = {}
        self._held_back: dict[str, float] = {}  # until when, in monotonic seconds

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, run: Run) -> bool:
        """False, and nothing changed, when this very attempt is here already."""
        return self._runs.setdefault(run.fence, run) is run

    def remove(self, run: Run) -> None:
        self._runs.pop(run.fence, None)

    def list_all(self) -> list[Run]:
        return list(self._runs.values())

    def cancel(self, ids: Iterable[str]) -> None:
        """Stops every attempt of these predictions, because somebody asked for it."""
        canceled = set(ids)
        for run in self.list_all():
            if run.prediction.id in canceled:
                run.stop(Stop.CANCEL)

    def drop(self, attempts: Collection[tuple[str, int]]) -> None:
        """Stops these (id, attempt), which are others' by now; what has ended is being recorded already."""
        for run in self.list_all() if attempts else ():
            if run.fence[:2] in attempts and run.ending is None:
                log.info("taken_away", **run.prediction.log_names, attempt=run.prediction.attempt)
                run.stop(Stop.DROP)

    def hand_back_waiting(self) -> None:
        """Hands back what no batch has begun, for another worker to begin at once; what runs goes on."""
        for run in self.list_all():
            if not run.in_batch and run.stopped is None:
                run.stop(Stop.HAND_BACK)

    def hand_back_all(self) -> None:
        """What runs as well."""
        for run in self.list_all():
            if run.stopped is None:
                run.stop(Stop.HAND_BACK)

    def hold_back(self, versions: Iterable[str], seconds: float) -> None:
        """Nothing more of these versions is to be claimed for so long."""
        self._held_back = dict.fromkeys(versions, time.monotonic() + seconds)

    def held_back(self) -> list[str]:
        """Versions of which nothing more is to be claimed now."""
        now = time.monotonic()
        return [version for version, until in self._held_back.items() if until > now]

    def drop_former(self, worker: UUID) -> int:
        """Stops what was claimed under another identity than this: it is others' by now. Returns how many."""
        former = [run for run in self.list_all() if run.prediction.worker != worker]
        for run in former:
            run.stop(Stop.DROP)
        return len(former)

    def count_by_version(self) -> Counter[str]:
        return Counter(run.prediction.version_id for run in self.list_all())

    def users_by_version(self) -> dict[str, set[User]]:
        """Whose predictions are here."""
        users: dict[str, set[User]] = {}
        for run in self.list_all():
            users.setdefault(run.prediction.version_id, set()).add(run.prediction.user_id)
        return users

    def attempts(self) -> set[tuple[str, int]]:
        """(id, attempt) of each."""
        return {(prediction_id, attempt) for prediction_id, attempt, _ in list(self._runs)}
