"""Writes the ends of attempts, in groups. They are kept and tried again while Postgres is away, so that
finished work is not lost with it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from app.domain.errors import ModelFailed, Unavailable
from app.domain.predictions import Prediction, Status
from app.services.predictions.attempts import Ending
from app.services.predictions.lifecycle import Lifecycle

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
            except Unavailable:
                self._keep(group)
            except Exception:  # some ending in it cannot be stored: each is tried alone
                log.exception("group_of_endings_broken", count=len(group))
                self._write_each(group)
            self.on_written()

    def _next_group(self) -> list[PendingEnding]:
        with self._wake:
            self._wake.wait_for(lambda: self._pending or self._closing)
            return [self._pending.popleft() for _ in range(min(GROUP, len(self._pending)))]

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

    def _keep(self, group: Sequence[PendingEnding]) -> None:
        """For another try."""
        now = time.monotonic()
        for pending in group:
            if now > pending.until:
                log.error("result_given_up", prediction=pending.ending.id, attempt=pending.ending.attempt)
                pending.on_recorded(False)
        with self._wake:
            if not self._closing:
                self._pending.extendleft(reversed([each for each in group if now <= each.until]))
                self._wake.wait_for(lambda: self._closing, RETRY_SECONDS)

    def _write_each(self, group: Sequence[PendingEnding]) -> None:
        """An ending that cannot be stored becomes a failure, alone; what even then cannot be is left to the
        heartbeat."""
        for pending in group:
            if not (
                self._try(pending) or self._try(replace(pending, ending=_as_not_storable(pending.ending)))
            ):
                pending.on_recorded(False)

    def _try(self, pending: PendingEnding) -> bool:
        """Whether it was written, or is kept."""
        try:
            self._write([pending])
        except Unavailable:
            self._keep([pending])
        except Exception as error:  # noqa: BLE001 - Postgres has many ways to refuse
            log.error("ending_not_storable", prediction=pending.ending.id, reason=str(error)[:500])
            return False
        return True

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


def _as_not_storable(ending: Ending) -> Ending:
    return replace(
        ending,
        status=Status.FAILED,
        output=None,
        error="The model's answer could not be stored.",
        error_code=ModelFailed.code,
        logs="",
        metrics={},
        progress=None,
    )
