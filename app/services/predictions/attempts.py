"""What a worker says of an attempt (progress, end, hand-back), and the rules of handing one back: pure."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.domain.errors import WorkerCrashed
from app.domain.predictions import DIRECT, Prediction, Status, retry_delay
from app.json_text import JsonText

# Why an attempt was handed back, where its worker says no more.
STOPPED = "its worker stopped, was drained or could not begin it"
FREE_WORKER = "its worker had not begun it, and another one was free"


@dataclass(frozen=True, slots=True)
class ProgressUpdate:
    """What a running prediction has produced so far: whole new values, or None for what did not change.
    `begun`: its model has it in hand. `generation` is the output's. `webhook_events` lists those that are due
    for it. An output of more than INLINE_BYTES is not written before the end."""

    id: str
    attempt: int
    worker: UUID
    output: Any = None
    logs: str | None = None
    progress: dict[str, int] | None = None
    begun: bool = False
    generation: int | None = None
    webhook_events: tuple[str, ...] = ()
    number: int = 0  # distinguishes the webhooks of one prediction


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended. `output` holds storage keys in its file references; None: no output. With
    `output_key` the output itself is in the storage, `output_bytes` long, and `output` is what its row says
    of it. `has_webhook`: it may have a webhook, which must be written with it; without any, a group of ends
    is one statement. `keeps_progress`: its output and logs are those that the row has. `file_bytes`: of
    the files that the output names. `owes_start`, `owes_output`: an event of its beginning, of its output,
    was asked for and none was sent."""

    id: str
    attempt: int
    worker: UUID
    status: Status
    output: JsonText | None = None
    error: str | None = None
    error_code: str | None = None
    logs: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, int] | None = None
    generation: int = 0
    has_webhook: bool = True
    output_bytes: int | None = None
    output_key: str | None = None
    keeps_progress: bool = False
    file_bytes: int | None = None
    owes_start: bool = False
    owes_output: bool = False


@dataclass(frozen=True, slots=True)
class HandBack:
    """An attempt handed back unfinished: by a worker that stops (`crashes` 0) or after a crash (1).
    `to_class`: whoever of its worker's class is free is to have it."""

    id: str
    attempt: int
    worker: UUID
    crashes: int = 0
    reason: str = ""
    to_class: bool = False


def is_last(prediction: Prediction, hand_back: HandBack, max_crashes: int) -> bool:
    """Whether this was the last attempt: a cancel was requested, its process has died too often, or its
    caller called the worker itself, so that another attempt would answer nobody."""
    if prediction.cancel_requested or prediction.source == DIRECT:
        return True
    return prediction.crashes + hand_back.crashes >= max_crashes


def requeue_row(prediction: Prediction, hand_back: HandBack, other_queue: str | None) -> dict[str, Any]:
    """The row that makes it wait again. `other_queue`: where to, if its own is not read any more; what must
    not run just anywhere stays, and the sweep knows where it may go."""
    routing = prediction.routing or {}
    is_bound = routing.get("strategy") == "pinned" or routing.get("requires")
    return {
        "id": hand_back.id,
        "attempt": hand_back.attempt,
        "worker": hand_back.worker,
        "crashes": hand_back.crashes,
        "delay": retry_delay(prediction.crashes + hand_back.crashes) if hand_back.crashes else 0.0,
        "queue": None if is_bound else other_queue,
        "reason": hand_back.reason or (FREE_WORKER if hand_back.to_class else STOPPED),
    }


def last_ending(prediction: Prediction, hand_back: HandBack) -> Ending:
    """Its end without another attempt: canceled if that was requested, else failed with the reason."""
    crashes = prediction.crashes + hand_back.crashes
    reason = f": {hand_back.reason}" if hand_back.reason else ""
    error = f"Its process died {crashes} times while running it{reason}."
    if prediction.source == DIRECT:
        error = f"The worker that was called did not finish it: {hand_back.reason or STOPPED}. Call another."
    return Ending(
        prediction.id,
        hand_back.attempt,
        hand_back.worker,
        Status.CANCELED if prediction.cancel_requested else Status.FAILED,
        error=error,
        error_code=WorkerCrashed.code,
        metrics=prediction.metrics,
        keeps_progress=True,
    )
