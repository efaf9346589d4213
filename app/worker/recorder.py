"""A worker's writes to the lifecycle, each in groups: claims, growth, endings. Endings are kept and tried
again while Postgres is away, so that finished work is not lost with it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import structlog

from app.domain.errors import ModelFailed, Unavailable
from app.domain.predictions import Prediction, Status
from app.observe import metrics
from app.services.predictions.lifecycle import Ending, HandBack, Lifecycle, ProgressUpdate

log = structlog.get_logger(__name__)

KEEP_TRYING_SECONDS = 300.0
RETRY_SECONDS = 0.5
GROUP = 128

OnRecorded = Callable[[bool], None]


class Recorder:
    """Thread-safe. `worker` is this incarnation; `renew` gives a fresh one when it has been declared dead.

    `start` once, `close` at the end. `on_written` is called after each group of endings, `on_ended` with
    those recorded.
    """

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self.worker: UUID = uuid4()
        self.on_written: Callable[[], None] = lambda: None
        self.on_ended: Callable[[Sequence[Prediction]], None] = lambda ended: None
        self._endings: deque[tuple[Ending, OnRecorded, float]] = deque()
        self._some = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="endings", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def renew(self) -> UUID:
        """A new identity: everything claimed under the old one is no longer ours."""
        self.worker = uuid4()
        return self.worker

    def claim(self, ids: Sequence[str]) -> list[Prediction]:
        """Those of the predictions that are now this worker's. Raises Unavailable."""
        claimed = [one for one in self._lifecycle.claim(list(dict.fromkeys(ids)), self.worker) if one]
        metrics.CLAIMED.labels("bell").inc(len(claimed))
        return claimed

    def claim_within(
        self, ids: Sequence[str], capacity: Mapping[str, int]
    ) -> tuple[list[Prediction], dict[str, str]]:
        """Those that are now this worker's, of a version no more than its room; and those left for that, with
        their versions. Raises Unavailable."""
        claimed, left = self._lifecycle.claim_within(list(dict.fromkeys(ids)), self.worker, capacity)
        metrics.CLAIMED.labels("bell").inc(len(claimed))
        return claimed, left

    def claim_oldest(self, queues: list[str], limit: int, capacity: Mapping[str, int]) -> list[Prediction]:
        """Waiting predictions that nobody told us of. Raises Unavailable."""
        claimed = self._lifecycle.claim_oldest(queues, self.worker, limit, capacity)
        metrics.CLAIMED.labels("look").inc(len(claimed))
        return claimed

    def save_progress(self, news: Sequence[ProgressUpdate]) -> list[bool]:
        """False for each that is no longer ours. A database that is away changes nothing: the end tells
        all."""
        try:
            return self._lifecycle.save_progress(news)
        except Unavailable:
            return [True] * len(news)

    def finish(self, ending: Ending, on_recorded: OnRecorded) -> None:
        """Records the end soon, trying for some minutes while Postgres is away; returns at once.

        `told` hears, on the recorder's thread, True when it was written, False when it was not ours any more
        or time ran out.
        """
        with self._some:
            self._endings.append((ending, on_recorded, time.monotonic() + KEEP_TRYING_SECONDS))
            self._some.notify()

    def hand_back(self, one: HandBack) -> None:
        """Back to waiting; when Postgres is away the heartbeat does it later."""
        try:
            self._lifecycle.hand_back([one])
        except Unavailable:
            log.warning("give_back_left_to_heartbeat", prediction=one.id)

    def _run(self) -> None:
        while group := self._next():
            try:
                self._write(group)
            except Unavailable:
                self._keep(group)
            except Exception:  # one bad ending must not keep the others of its group from being written
                log.exception("group_of_endings_broken", count=len(group))
                self._one_by_one(group)
            self.on_written()

    def _next(self) -> list[tuple[Ending, OnRecorded, float]]:
        with self._some:
            self._some.wait_for(lambda: self._endings or self._closing)
            return [self._endings.popleft() for _ in range(min(GROUP, len(self._endings)))]

    def _write(self, group: list[tuple[Ending, OnRecorded, float]]) -> None:
        written = self._lifecycle.finish([ending for ending, _, _ in group])
        for (_, on_recorded, _), prediction in zip(group, written, strict=True):
            on_recorded(prediction is not None)
        self._count([prediction for prediction in written if prediction])

    def _count(self, ended: Sequence[Prediction]) -> None:
        try:
            self.on_ended(ended)
        except Exception:  # they are recorded, whatever becomes of the count
            log.exception("counting_broken")

    @property
    def waiting(self) -> int:
        """Ends that are not written yet."""
        return len(self._endings)

    def _keep(self, group: list[tuple[Ending, OnRecorded, float]]) -> None:
        """For another try."""
        now = time.monotonic()
        for ending, on_recorded, until in group:
            if now > until:
                log.error("result_given_up", prediction=ending.id, attempt=ending.attempt)
                on_recorded(False)
        with self._some:
            if not self._closing:
                self._endings.extendleft(reversed([one for one in group if now <= one[2]]))
                self._some.wait_for(lambda: self._closing, RETRY_SECONDS)

    def _one_by_one(self, group: list[tuple[Ending, OnRecorded, float]]) -> None:
        """An ending that cannot be stored becomes a failure, alone; what even then cannot be is left to the
        heartbeat."""
        for one in group:
            for attempt in (one, (_unstorable(one[0]), *one[1:])):
                try:
                    self._write([attempt])
                    break
                except Unavailable:
                    self._keep([attempt])
                    break
                except Exception as error:  # noqa: BLE001 - tried without its output, then given up
                    log.error("ending_not_storable", prediction=one[0].id, reason=str(error)[:500])
            else:
                one[1](False)

    def close(self, timeout: float) -> None:
        """Writes what waits, for at most `timeout` seconds."""
        until = time.monotonic() + timeout
        while self._endings and time.monotonic() < until:
            time.sleep(0.02)
        with self._some:
            self._closing = True
            self._some.notify_all()
        if self._thread.is_alive():
            self._thread.join(max(0.1, until - time.monotonic()))


def _unstorable(ending: Ending) -> Ending:
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
