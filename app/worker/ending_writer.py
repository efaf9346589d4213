"""Writes the ends of attempts, in groups. They are kept and tried again while Postgres is away, so that
finished work is not lost with it.

A group that Postgres refuses (too slow, too large, a deadlock) is tried again in smaller ones, at last each
end alone: nobody's work is thrown away because a neighbour's cannot be stored.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from app.coalesce import next_group
from app.db.refusals import reason_of
from app.domain.errors import DatabaseRefused, ModelFailed, Unavailable
from app.domain.predictions import Prediction, Status
from app.services.predictions.attempts import Ending
from app.services.predictions.lifecycle import Lifecycle
from app.worker.run import NOT_STORABLE

log = structlog.get_logger(__name__)

KEEP_TRYING_SECONDS = 300.0
RETRY_SECONDS = 0.5
GROUP = 128

OnRecorded = Callable[[bool], None]


@dataclass(frozen=True, slots=True)
class PendingEnding:
    """`until`: when it is given up, in monotonic seconds."""

    ending: Ending
    on_recorded: OnRecorded
    until: float


class EndingWriter:
    """Thread-safe; `start` once, `close` at the end. `on_written` is called after each group, `on_ended` with
    those that were recorded."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self.on_written: Callable[[], None] = lambda: None
        self.on_ended: Callable[[Sequence[Prediction]], None] = lambda ended: None
        self._pending: deque[PendingEnding] = deque()
        self._limit = GROUP
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="endings", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def write(self, ending: Ending, on_recorded: OnRecorded) -> None:
        """Records the end soon, trying for some minutes while Postgres is away; returns at once.

        `on_recorded` is called on the writer's thread: True when it was written, False when it was not ours
        any more or time ran out.
        """
        with self._wake:
            self._pending.append(PendingEnding(ending, on_recorded, time.monotonic() + KEEP_TRYING_SECONDS))
            self._wake.notify()

    @property
    def waiting(self) -> int:
        """Ends that are not written yet."""
        return len(self._pending)

    def _run(self) -> None:
        while group := self._next_group():
            try:
                self._write(group)
                self._limit = min(GROUP, self._limit * 2)
            except DatabaseRefused as error:
                self._on_refusal(group, error)
            except Unavailable:
                self._keep(group)
            except Exception as error:  # noqa: BLE001 - some ending in it cannot be stored: that one fails
                self._on_unstorable(group, error)
            self.on_written()

    def _next_group(self) -> list[PendingEnding]:
        with self._wake:
            self._wake.wait_for(lambda: self._pending or self._closing)
            return next_group(self._pending, self._limit, _size_of)

    def _write(self, group: Sequence[PendingEnding]) -> None:
        recorded = self._lifecycle.finish([pending.ending for pending in group])
        for pending, prediction in zip(group, recorded, strict=True):
            pending.on_recorded(prediction is not None)
        self._count([prediction for prediction in recorded if prediction])

    def _count(self, ended: Sequence[Prediction]) -> None:
        try:
            self.on_ended(ended)
        except Exception:  # they are recorded, whatever becomes of the count
            log.exception("counting_broken")

    def _keep(self, group: Sequence[PendingEnding], *, behind: bool = False) -> None:
        """For another try, before those that wait or `behind` them."""
        now = time.monotonic()
        for pending in group:
            if now > pending.until:
                log.error("result_given_up", prediction=pending.ending.id, attempt=pending.ending.attempt)
                pending.on_recorded(False)
        kept = [pending for pending in group if now <= pending.until]
        with self._wake:
            if self._closing:
                return
            if behind:
                self._pending.extend(kept)
            else:
                self._pending.extendleft(reversed(kept))
            self._wake.wait_for(lambda: self._closing, RETRY_SECONDS)

    def _halve(self, group: Sequence[PendingEnding]) -> None:
        """Next come its halves. Groups grow again with each that is written."""
        self._limit = len(group) // 2
        with self._wake:
            self._pending.extendleft(reversed(group))

    def _on_refusal(self, group: Sequence[PendingEnding], error: DatabaseRefused) -> None:
        """Whose fault it was shows when each is alone. What is refused alone for a reason that may pass (a
        full disk, a slow one) is tried again behind the others."""
        log.warning("endings_refused", count=len(group), reason=error.detail)
        if len(group) > 1:
            self._halve(group)
        elif error.may_pass:
            self._keep(group, behind=True)
        else:
            self._fail(group[0], error)

    def _on_unstorable(self, group: Sequence[PendingEnding], error: Exception) -> None:
        if len(group) > 1:
            self._halve(group)
        else:
            self._fail(group[0], error)

    def _fail(self, pending: PendingEnding, error: Exception) -> None:
        """An ending that cannot be stored becomes a failure; what even then cannot be is left to the
        heartbeat."""
        log.error("ending_not_storable", prediction=pending.ending.id, reason=reason_of(error))
        failed = _as_not_storable(pending.ending)
        if pending.ending == failed:
            pending.on_recorded(False)
        else:
            with self._wake:
                self._pending.appendleft(replace(pending, ending=failed))

    def close(self, timeout: float) -> None:
        """Writes what waits, for at most `timeout` seconds."""
        until = time.monotonic() + timeout
        while self._pending and time.monotonic() < until:
            time.sleep(0.02)
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join(max(0.1, until - time.monotonic()))


def _size_of(pending: PendingEnding) -> int:
    """Bytes, but for what is always short."""
    ending = pending.ending
    return (len(ending.output) if ending.output else 0) + len(ending.logs)


def _as_not_storable(ending: Ending) -> Ending:
    return replace(
        ending,
        status=Status.FAILED,
        output=None,
        error=NOT_STORABLE,
        error_code=ModelFailed.code,
        logs="",
        metrics={},
        progress=None,
    )
