"""The one owner of a prediction's state. Every move checks the legal transition and the fence (worker,
attempt), writes the row and the webhook outbox in one transaction, and notifies after the commit (DESIGN,
principle 2).

All methods take groups and are synchronous; callers coalesce. A late or repeated move changes nothing and is
logged.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from app.coalesce import split_groups
from app.db import claims, deliveries, storage_use, sweeps, turns
from app.db import predictions as table
from app.db.session import Database
from app.domain import queue_names
from app.domain.predictions import Prediction, Waiting
from app.events import channels
from app.json_text import JsonText
from app.observe import metrics
from app.services.predictions.after_commit import Notifier
from app.services.predictions.attempts import (
    Ending,
    HandBack,
    ProgressUpdate,
    is_last,
    last_ending,
    requeue_row,
)
from app.services.predictions.stored_values import INLINE_BYTES
from app.services.predictions.webhook_outbox import WebhookOutbox

log = structlog.get_logger(__name__)

CANCEL_GROUP = 128  # predictions canceled in one transaction; each is read with up to 32 kB of input
FEW = 8  # ends at once that are published with how they ended; the rows of more are read sooner as a group


@dataclass(frozen=True, slots=True)
class Claimed:
    """`predictions` are the worker's now. `deferred` wait, the worker has no capacity for more of their
    version."""

    predictions: list[Prediction]
    deferred: list[Waiting]


@dataclass(frozen=True, slots=True)
class HandedBack:
    """What became of attempts that were handed back: `waiting` again, or `ended`, with the ids of the
    webhooks written for those."""

    waiting: list[Prediction]
    ended: list[Prediction]
    webhooks: list[str]


def _stay(queue: str) -> str | None:
    """Nothing is sent to another queue."""
    return None


def _to_class(queue: str) -> str | None:
    """From a worker's own queue to its class's."""
    return queue_names.device_class(queue) if "@" in queue else None


class Lifecycle:
    """Thread-safe. `max_crashes` deaths of its process end a prediction as failed."""

    def __init__(
        self, database: Database, outbox: WebhookOutbox, notifier: Notifier, max_crashes: int = 3
    ) -> None:
        self._database, self._outbox = database, outbox
        self._notifier, self._max_crashes = notifier, max_crashes

    def accept(self, rows: Sequence[dict[str, Any]], worker: UUID | None = None) -> dict[str, Prediction]:
        """Inserts new predictions and notifies workers; those whose idempotency key exists already are not in
        the answer. Those of a `worker` were called for there: it runs them already."""
        with self._database.autocommit() as statement:
            created = table.insert(statement, rows, worker)
        metrics.tally(metrics.ACCEPTED, (prediction.source for prediction in created))
        (self._notifier.begun if worker else self._notifier.accepted)(created)
        return {prediction.id: prediction for prediction in created}

    def claim(
        self,
        ids: Sequence[str],
        worker: UUID,
        capacity: Mapping[str, int],
        paused: Collection[str] = (),
    ) -> Claimed:
        """`starting -> processing` for those that still wait, of a version no more than `capacity` says (as
        in db/claims.py), and none out of queues that are paused. Callers see them as `starting` until
        `begin`. Raises Unavailable.
        """
        limits = {version: more for version, more in capacity.items() if more < len(ids)}
        with self._database.autocommit() as statement:
            claimed = claims.by_ids(statement, ids, worker, limits, paused)
            missing = set(ids).difference(prediction.id for prediction in claimed)
            waiting = claims.still_waiting(statement, list(missing), paused) if missing and limits else []
        return Claimed(claimed, [each for each in waiting if each.version_id in limits])

    def begin(self, predictions: Sequence[Prediction]) -> None:
        """Their model has them in hand, which their callers' subscriptions learn now. Whoever reads the row
        learns it by `save_progress`."""
        self._notifier.begun(predictions)

    def list_waiting(self, ids: Sequence[str], paused: Collection[str] = ()) -> list[Waiting]:
        """Those of the ids that could be claimed, the oldest first. Raises Unavailable."""
        with self._database.autocommit() as statement:
            return claims.still_waiting(statement, ids, paused)

    def list_next(self, queues: Sequence[str], most: int) -> list[Waiting]:
        """The first of everybody who waits in these queues, whatever Redis knows of them; of all together
        some `most`. Raises Unavailable."""
        with self._database.autocommit() as statement:
            return turns.next_of_groups(statement, queues, most)

    def save_progress(self, updates: Sequence[ProgressUpdate]) -> list[bool]:
        """Writes outputs and logs so far. False for each that is no longer this worker's: it must be
        dropped."""
        saved: set[str] = set()
        pairs = [(update, _progress_row(update)) for update in updates]
        for group in split_groups(pairs, len(pairs), lambda pair: _size_of(pair[1])):
            saved |= self._save_group(group)
        return [update.id in saved for update in updates]

    def _save_group(self, group: Sequence[tuple[ProgressUpdate, dict[str, Any]]]) -> set[str]:
        webhooks: list[str] = []
        with self._database.unit() as session:
            rows = [row | {"output": row["output"] and row["output"].fragment} for _, row in group]
            saved = {each.id: each for each in table.progress(session, rows)}
            for update, _ in group:
                for event in update.webhook_events if update.id in saved else ():
                    webhooks += self._outbox.write(session, [saved[update.id]], event, update.number)
        self._notifier.deliveries(webhooks)
        return set(saved)

    def finish(self, endings: Sequence[Ending]) -> list[Prediction | None]:
        """`processing -> succeeded | failed | canceled`. None for each whose fence did not hold."""
        rows = [_row(ending) for ending in endings]
        webhooks: list[str] = []
        if any(ending.has_webhook for ending in endings):
            with self._database.unit() as session:
                ended = table.finish(session, rows)
                webhooks = self._outbox.write_ends(session, ended, endings)
        else:
            with self._database.autocommit() as statement:
                ended = table.finish(statement, rows)
        self._notify_ended(ended, endings if len(ended) <= FEW else ())
        self._notifier.deliveries(webhooks)
        by_attempt = {(prediction.id, prediction.attempt): prediction for prediction in ended}
        for ending in endings:
            if (ending.id, ending.attempt) not in by_attempt:
                _log_late(ending)
        return [by_attempt.get((ending.id, ending.attempt)) for ending in endings]

    def cancel(
        self, ids: Sequence[str], reason: str | None = None, *, waiting_only: bool = False
    ) -> dict[str, Prediction]:
        """Waiting ones end at once; running ones are marked and workers notified, unless `waiting_only`. A
        transaction for every CANCEL_GROUP of them."""
        predictions: dict[str, Prediction] = {}
        for start in range(0, len(ids), CANCEL_GROUP):
            group = ids[start : start + CANCEL_GROUP]
            with self._database.unit() as session:
                ended, marked = table.cancel(session, group, reason, waiting_only=waiting_only)
                webhooks = self._outbox.write(session, ended, "completed")
                predictions |= table.get(session, group)
            self._notify_ended(ended)
            self._notifier.cancel(marked)
            self._notifier.deliveries(webhooks)
        return predictions

    def hand_back(self, hand_backs: Sequence[HandBack]) -> Sequence[Prediction]:
        """`processing -> starting`, or `failed` when its process has died too often, or `canceled` when that
        was requested. Returns those that have ended with it."""
        with self._database.unit() as session:
            held = table.get(session, [hand_back.id for hand_back in hand_backs])
            handed_back = self._hand_back(session, hand_backs, held)
        self._notify_handed_back(handed_back)
        return handed_back.ended

    def hand_back_all(self, worker: UUID) -> int:
        """Hands back everything a stopping worker still holds; returns how many."""
        with self._database.unit() as session:
            held = {prediction.id: prediction for prediction in table.held_by(session, worker)}
            hand_backs = [HandBack(each.id, each.attempt, worker) for each in held.values()]
            handed_back = self._hand_back(session, hand_backs, held)
        self._notify_handed_back(handed_back)
        return len(hand_backs)

    def recover(self, dead_after: float, limit: int, other_queue: Callable[[str], str | None]) -> int:
        """Takes at most `limit` running predictions from workers silent for `dead_after` seconds.
        `other_queue` says where to send what waited in a queue that nobody reads any more. Returns how
        many."""
        with self._database.unit() as session:
            dead = sweeps.held_by_dead(session, dead_after, limit)
            held = {prediction.id: prediction for prediction in dead}
            hand_backs = [
                HandBack(each.id, each.attempt, each.worker, 1, "its worker died")
                for each in held.values()
                if each.worker
            ]
            handed_back = self._hand_back(session, hand_backs, held, other_queue)
        self._notify_handed_back(handed_back)
        for taken in hand_backs:
            names = held[taken.id].log_names
            log.warning("taken_from_dead_worker", **names, attempt=taken.attempt, worker=str(taken.worker))
        return len(hand_backs)

    def _hand_back(
        self,
        session: Session,
        hand_backs: Sequence[HandBack],
        held: dict[str, Prediction],
        other_queue: Callable[[str], str | None] = _stay,
    ) -> HandedBack:
        """Sorts unfinished attempts into those that wait again and those that have ended with it."""
        pairs = [(held[each.id], each) for each in hand_backs if each.id in held]
        endings, rows = [], []
        for prediction, hand_back in pairs:
            if is_last(prediction, hand_back, self._max_crashes):
                endings.append(_row(last_ending(prediction, hand_back)))
            else:
                other = _to_class if hand_back.to_class else other_queue
                rows.append(requeue_row(prediction, hand_back, other(prediction.queue)))
        waiting, ended = table.requeue(session, rows), table.finish(session, endings)
        return HandedBack(waiting, ended, self._outbox.write(session, ended, "completed"))

    def _notify_handed_back(self, handed_back: HandedBack) -> None:
        metrics.RETURNED.inc(len(handed_back.waiting))
        self._notifier.handed_back(handed_back.waiting)
        self._notify_ended(handed_back.ended)
        self._notifier.deliveries(handed_back.webhooks)

    def _notify_ended(self, ended: Sequence[Prediction], endings: Sequence[Ending] = ()) -> None:
        """`endings`: how they ended, where those who wait are to learn it at once."""
        metrics.tally(metrics.ENDED, (prediction.status.value for prediction in ended))
        by_attempt = {(ending.id, ending.attempt): ending for ending in endings}
        encoded: dict[str, str | None] = {}
        for prediction in ended if endings else ():
            ending = by_attempt[prediction.id, prediction.attempt]
            encoded[prediction.id] = channels.encode_ending(prediction, ending.output, ending.logs)
        self._notifier.ended(ended, encoded)

    def remove_data(self, ids: Sequence[str]) -> list[Prediction]:
        """Empties inputs, outputs and logs of ended predictions, and drops their webhooks, whose bodies
        repeat them; the caller deletes the stored files."""
        with self._database.unit() as session:
            storage_use.remove_predictions(session, ids)
            removed = table.remove_data(session, ids)
            deliveries.forget(session, [prediction.id for prediction in removed])
        self._notifier.removed(ids)
        return removed


def _row(ending: Ending) -> dict[str, Any]:
    """Its fields by name. Not `asdict`, which copies an output number by number: 0.6 ms for a vector of
    384."""
    row = {name: getattr(ending, name) for name in ending.__slots__}
    row["output"] = ending.output and ending.output.fragment
    return row


def _progress_row(update: ProgressUpdate) -> dict[str, Any]:
    output = None if update.output is None else JsonText.from_value(update.output)
    return {
        "id": update.id,
        "attempt": update.attempt,
        "worker": update.worker,
        "output": output if output and len(output) <= INLINE_BYTES else None,
        "logs": update.logs,
        "progress": update.progress,
        "begun": update.begun or output is not None,
    }


def _size_of(row: dict[str, Any]) -> int:
    return sum(len(row[name] or "") for name in ("output", "logs"))


def _log_late(ending: Ending) -> None:
    metrics.LATE.inc()
    log.info(
        "late_result_discarded",
        prediction=ending.id,
        attempt=ending.attempt,
        worker=str(ending.worker),
    )
