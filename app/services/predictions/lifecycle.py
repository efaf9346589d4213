"""The one owner of a prediction's state. Every move checks the legal transition and the fence (worker,
attempt), writes the row and the webhook outbox in one transaction, and announces after the commit (DESIGN,
principle 2).

All methods take groups and are synchronous; callers coalesce. A late or repeated move changes nothing and is
logged.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import structlog
from sqlalchemy.orm import Session

from app.db import claims
from app.db import deliveries as outbox
from app.db import predictions as table
from app.db.session import Database
from app.domain.errors import WorkerCrashed
from app.domain.predictions import Prediction, Status, retry_delay
from app.domain.webhooks import delivery_id, wants
from app.events import channels
from app.observe import metrics
from app.services.predictions.after_commit import Notifier
from app.services.predictions.prediction_view import PredictionView

log = structlog.get_logger(__name__)

FEW = 8  # ends at once that are told with how they ended; the rows of more are read sooner as a group


@dataclass(frozen=True, slots=True)
class ProgressUpdate:
    """News of a running prediction: whole new values, or None for what did not change. `tell` lists webhook
    events."""

    id: str
    attempt: int
    worker: UUID
    output: Any = None
    logs: str | None = None
    progress: dict[str, int] | None = None
    tell: tuple[str, ...] = ()
    number: int = 0  # distinguishes the webhooks of one prediction


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended. `output` holds storage keys in its file references. `tells`: it may have a
    webhook, which must be written with it; without any, a group of ends is one statement."""

    id: str
    attempt: int
    worker: UUID
    status: Status
    output: Any = None
    error: str | None = None
    error_code: str | None = None
    logs: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, int] | None = None
    has_webhook: bool = True


@dataclass(frozen=True, slots=True)
class HandBack:
    """An attempt given back unfinished: by a worker that stops (`crashes` 0) or after a crash (1)."""

    id: str
    attempt: int
    worker: UUID
    crashes: int = 0
    reason: str = ""


def row(state_changes: ProgressUpdate | Ending, without: Sequence[str] = ()) -> dict[str, Any]:
    """Its fields by name. Not `asdict`, which copies an output number by number: 0.6 ms for a vector of
    384."""
    return {name: getattr(state_changes, name) for name in state_changes.__slots__ if name not in without}


class Lifecycle:
    """Thread-safe. `max_crashes` deaths of its process end a prediction as failed."""

    def __init__(
        self, database: Database, view: PredictionView, notifier: Notifier, max_crashes: int = 3
    ) -> None:
        self._database, self._view, self._notifier = database, view, notifier
        self._max_crashes = max_crashes

    def accept(self, rows: Sequence[dict[str, Any]]) -> dict[str, Prediction]:
        """Inserts new predictions and announces them; those whose idempotency key exists already are not in
        the answer."""
        with self._database.autocommit() as statement:
            created = table.insert(statement, rows)
        metrics.tally(metrics.ACCEPTED, (one.source for one in created))
        self._notifier.accepted(created)
        return {prediction.id: prediction for prediction in created}

    def claim(self, ids: Sequence[str], worker: UUID) -> list[Prediction | None]:
        """`starting -> processing` for those that still wait; None for each that was taken, ended or never
        existed.

        One statement for all whose start nobody is told of, which is nearly always everybody.
        """
        with self._database.autocommit() as statement:
            claimed = claims.claim(statement, ids, worker, with_start_webhook=False)
        by_id = {prediction.id: prediction for prediction in claimed}
        if others := [one for one in ids if one not in by_id]:
            with self._database.unit() as session:
                claimed += (telling := claims.claim(session, others, worker, with_start_webhook=True))
                deliveries = self._write_outbox(session, telling, "start")
            self._notifier.deliveries(deliveries)
            by_id |= {prediction.id: prediction for prediction in telling}
        self._notifier.claimed(claimed)
        return [by_id.get(prediction_id) for prediction_id in ids]

    def claim_within(
        self, ids: Sequence[str], worker: UUID, capacity: Mapping[str, int]
    ) -> tuple[list[Prediction], dict[str, str]]:
        """Claims no more of a version than its room. Also returns the ids that were left for that, with their
        versions."""
        with self._database.unit() as session:
            claimed, left = claims.claim_within(session, ids, worker, capacity)
            deliveries = self._write_outbox(session, claimed, "start")
        self._notifier.claimed(claimed)
        self._notifier.deliveries(deliveries)
        return claimed, left

    def claim_oldest(
        self, queues: Sequence[str], worker: UUID, limit: int, capacity: Mapping[str, int] | None = None
    ) -> list[Prediction]:
        """Claims the oldest waiting rows of these queues without having been told of them; of a version in
        `rooms` no more than that."""
        with self._database.unit() as session:
            if capacity and min(capacity.values()) < limit:
                claimed = claims.claim_oldest_within(session, queues, worker, limit, capacity)
            else:
                claimed = claims.claim_oldest(session, queues, worker, limit)
            deliveries = self._write_outbox(session, claimed, "start")
        self._notifier.claimed(claimed)
        self._notifier.deliveries(deliveries)
        return claimed

    def save_progress(self, state_changes: Sequence[ProgressUpdate]) -> list[bool]:
        """Writes growing outputs and logs. False for each that is no longer this worker's: it must be
        dropped."""
        rows = [row(one, without=("tell", "number")) for one in state_changes]
        deliveries: list[str] = []
        with self._database.unit() as session:
            grown = {prediction.id: prediction for prediction in table.progress(session, rows)}
            for one in state_changes:
                for event in one.tell if one.id in grown else ():
                    deliveries += self._write_outbox(session, [grown[one.id]], event, one.number)
        self._notifier.deliveries(deliveries)
        return [one.id in grown for one in state_changes]

    def finish(self, endings: Sequence[Ending]) -> list[Prediction | None]:
        """`processing -> succeeded | failed | canceled`. None for each whose fence did not hold."""
        rows = [row(ending, without=("tells",)) for ending in endings]
        deliveries: list[str] = []
        if any(ending.has_webhook for ending in endings):
            with self._database.unit() as session:
                ended = table.finish(session, rows)
                deliveries = self._write_outbox(session, ended, "completed")
        else:
            with self._database.autocommit() as statement:
                ended = table.finish(statement, rows)
        self._notify_ended(
            ended, {(ending.id, ending.attempt): ending for ending in endings} if len(ended) <= FEW else {}
        )
        self._notifier.deliveries(deliveries)
        by_id = {prediction.id: prediction for prediction in ended}
        for ending in endings:
            if ending.id not in by_id:
                metrics.LATE.inc()
                log.info(
                    "late_result_discarded",
                    prediction=ending.id,
                    attempt=ending.attempt,
                    worker=str(ending.worker),
                )
        return [by_id.get(ending.id) for ending in endings]

    def cancel(self, ids: Sequence[str], reason: str | None = None) -> dict[str, Prediction]:
        """Waiting ones end at once; running ones are marked and their workers told; ended ones stay as they
        are."""
        with self._database.unit() as session:
            ended, marked = table.cancel(session, ids, reason)
            deliveries = self._write_outbox(session, ended, "completed")
            found = table.get(session, ids)
        self._notify_ended(ended)
        self._notifier.cancel(marked)
        self._notifier.deliveries(deliveries)
        return found

    def hand_back(self, returns: Sequence[HandBack]) -> None:
        """`processing -> starting`, or `failed` when its process has died too often, or `canceled` when that
        was asked."""
        with self._database.unit() as session:
            held = table.get(session, [one.id for one in returns])
            again, deliveries, ended = self._settle(session, returns, held)
        self._notify_handed_back(again, deliveries, ended)

    def hand_back_all(self, worker: UUID) -> int:
        """Hands back everything a stopping worker still holds; returns how many."""
        with self._database.unit() as session:
            held = {prediction.id: prediction for prediction in table.held_by(session, worker)}
            returns = [HandBack(found.id, found.attempt, worker) for found in held.values()]
            settled = self._settle(session, returns, held)
        self._notify_handed_back(*settled)
        return len(returns)

    def recover(self, dead_after: float, limit: int, queue_of: Callable[[str], str | None]) -> int:
        """Takes running predictions from dead workers. `queue_of` tells where to send what waited in a given
        queue."""
        with self._database.unit() as session:
            held = {
                prediction.id: prediction for prediction in table.held_by_dead(session, dead_after, limit)
            }
            returns = [
                HandBack(found.id, found.attempt, found.worker, 1, "its worker died")
                for found in held.values()
                if found.worker
            ]
            settled = self._settle(session, returns, held, queue_of)
        self._notify_handed_back(*settled)
        for found in held.values():
            log.warning(
                "taken_from_dead_worker", prediction=found.id, attempt=found.attempt, worker=str(found.worker)
            )
        return len(returns)

    def _settle(
        self,
        session: Session,
        returns: Sequence[HandBack],
        held: dict[str, Prediction],
        queue_of: Callable[[str], str | None] = lambda queue: None,
    ) -> tuple[list[Prediction], list[str], list[Prediction]]:
        """Sorts unfinished attempts into again, failed and canceled. Returns (waiting again, deliveries,
        ended)."""
        known = [one for one in returns if one.id in held]
        over = [one for one in known if self._is_over(held[one.id], one)]
        again = [one for one in known if not self._is_over(held[one.id], one)]
        rows = [self._return_row(held[one.id], one, queue_of) for one in again]
        waiting = table.requeue(session, rows)
        ended = table.finish(
            session, [row(self._final_ending(held[one.id], one), without=("tells",)) for one in over]
        )
        return waiting, self._write_outbox(session, ended, "completed"), ended

    def _is_over(self, prediction: Prediction, one: HandBack) -> bool:
        return prediction.cancel_requested or prediction.crashes + one.crashes >= self._max_crashes

    @staticmethod
    def _return_row(
        prediction: Prediction, one: HandBack, queue_of: Callable[[str], str | None]
    ) -> dict[str, Any]:
        delay = retry_delay(prediction.crashes + one.crashes) if one.crashes else 0.0
        back = {"id": one.id, "attempt": one.attempt, "worker": one.worker, "crashes": one.crashes}
        routing = (
            prediction.routing or {}
        )  # what must not run just anywhere stays; the sweep knows where it may go
        bound = routing.get("strategy") == "pinned" or routing.get("requires")
        return {**back, "delay": delay, "queue": None if bound else queue_of(prediction.queue)}

    @staticmethod
    def _final_ending(prediction: Prediction, one: HandBack) -> Ending:
        crashes = prediction.crashes + one.crashes
        error = (
            f"Its process died {crashes} times while running it"
            + (f": {one.reason}" if one.reason else "")
            + "."
        )
        status = Status.CANCELED if prediction.cancel_requested else Status.FAILED
        fence = (prediction.id, one.attempt, one.worker)
        rest = {"output": prediction.output, "logs": prediction.logs, "metrics": prediction.metrics}
        return Ending(*fence, status, error=error, error_code=WorkerCrashed.code, **rest)

    def _notify_handed_back(
        self, again: list[Prediction], deliveries: list[str], ended: list[Prediction]
    ) -> None:
        metrics.RETURNED.inc(len(again))
        self._notifier.handed_back(again)
        self._notify_ended(ended)
        self._notifier.deliveries(deliveries)

    def _notify_ended(
        self, ended: Sequence[Prediction], how: Mapping[tuple[str, int], Ending] | None = None
    ) -> None:
        """`how` by id and attempt."""
        metrics.tally(metrics.ENDED, (one.status.value for one in ended))
        pairs = [(one, how[one.id, one.attempt]) for one in ended] if how else []
        self._notifier.ended(
            ended, {one.id: channels.ending(one, end.output, end.logs) for one, end in pairs}
        )

    def remove_data(self, ids: Sequence[str]) -> list[Prediction]:
        """Empties inputs, outputs and logs of ended predictions, and drops their webhooks, whose bodies
        repeat them; the caller deletes the stored files."""
        with self._database.unit() as session:
            removed = table.remove_data(session, ids)
            outbox.forget(session, [prediction.id for prediction in removed])
        return removed

    def _write_outbox(
        self, session: Session, predictions: Sequence[Prediction], event: str, number: int = 0
    ) -> list[str]:
        """One outbox row for each prediction that wants this event told; the body is the public object."""
        rows = [
            {
                "id": delivery_id(prediction.id, event, number),
                "prediction_id": prediction.id,
                "user_id": prediction.user_id,
                "event": event,
                "url": prediction.webhook,
                "body": orjson.dumps(self._view.render(prediction, as_starting=event == "start")),
            }
            for prediction in predictions
            if prediction.webhook and wants(prediction.webhook_events, event)
        ]
        if rows:
            outbox.insert_many(session, rows)
        return [str(row["id"]) for row in rows]
