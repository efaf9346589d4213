"""Brings waiting predictions to this worker: by doorbells, by what else lies in its queues, and straight from
Postgres.

One thread claims whatever waits in one statement (DESIGN, principle 3). Celery hands over the first message
after a rest. While more come, they are read from the same Redis lists here, in bulk: Celery's consumer costs
some 0.6 ms of CPU for each. When the bells have been silent for a while, and once in a while although they
ring, the oldest waiting rows are claimed without one (DESIGN, "Steal"): a bell may have been lost.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from app.broker.queue_lists import QueueLists
from app.domain.errors import Unavailable
from app.domain.predictions import Prediction
from app.worker.deferred import DeferredIds
from app.worker.recorder import Recorder
from app.worker.runner import Runner

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
QUIET_SECONDS = 1.0  # a bell that rings is faster than looking; silence this long makes a look worth it
LOOK_ANYWAY_SECONDS = 5.0
LONE_SECONDS = 0.002  # a bell so long after the last claim is answered before Redis is asked for more
LISTEN_FOR_SECONDS = 0.2  # silence after which Celery listens again
LISTEN_SECONDS = 0.05  # for each wait for a bell; stopping waits as long
POLL_SECONDS = 0.02  # between looks into Redis while something put off waits for room
AT_ONCE = 64  # claimed in one statement; siblings that are as fast get their share of a flood


class Intake:
    """`heard` is called at every doorbell, `room_freed` when something ended. Calls `claimed` with what is
    about to run, and `on_idle` when Celery may listen again."""

    def __init__(
        self, recorder: Recorder, runner: Runner, lists: QueueLists, queues: list[str], slots: int
    ) -> None:
        self._recorder, self._runner, self._lists = recorder, runner, lists
        self._queues, self._slots = queues, slots
        self.claimed: Callable[[Sequence[Prediction]], None] = lambda predictions: None
        self.on_idle: Callable[[], None] = lambda: None
        self._waiting: deque[str] = deque()
        self._deferred = DeferredIds()
        self._more = False  # Redis may hold messages that nobody has been told of
        self._busy = self._listening = False
        self._message_at = self._looked_at = self._claimed_at = time.monotonic()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def on_message(self, prediction_id: str) -> None:
        """A doorbell rang just now."""
        with self._wake:
            self._message_at = time.monotonic()
            self._waiting.append(prediction_id)
            self._more = True
            self._wake.notify()

    def on_capacity(self) -> None:
        """Something ended here."""
        with self._wake:
            self._wake.notify()

    @property
    def is_reading(self) -> bool:
        """Whether Celery should leave further messages where they are: they are taken from here, in bulk, or
        not at all."""
        reads = self._busy or self._listening
        return reads or self._more or bool(self._waiting) or self._stopping or self._capacity() <= 0

    def _capacity(self) -> int:
        return self._slots - len(self._runner.running)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._once()
            except Unavailable:
                log.warning("doorbells_unanswered", reason="the database cannot be reached")
                time.sleep(LOOK_SECONDS)
            except Exception:  # one bad round must not end the intake
                log.exception("intake_broken")
                time.sleep(LOOK_SECONDS)
            finally:
                self._rest()

    def _once(self) -> None:
        ids = self._next()
        if ids:
            self._claim(ids)
        now = time.monotonic()
        silent = not ids and not self._more and now - self._message_at > QUIET_SECONDS
        if silent or now - self._looked_at > LOOK_ANYWAY_SECONDS:
            self._looked_at = now
            self._claim_oldest()

    def _rest(self) -> None:
        full = self._capacity() <= 0
        self._more = self._more or full  # nobody reads then
        self._busy, self._listening = (
            False,
            not full and time.monotonic() - self._message_at < LISTEN_FOR_SECONDS,
        )
        if not self.is_reading:
            self.on_idle()

    def _due(self) -> bool:
        """Whether there is something to claim and room for it."""
        if self._stopping or self._capacity() <= 0:
            return self._stopping
        return (
            bool(self._waiting)
            or self._more
            or (len(self._deferred) > 0 and self._deferred.ready(self._runner.capacity()))
        )

    def _next(self) -> list[str]:
        """What to claim now; waits for it, but not longer than until the next look."""
        self._listen()
        with self._wake:
            self._wake.wait_for(self._due, 0 if self._listening else LOOK_SECONDS)
            capacity = min(AT_ONCE, self._capacity())
            if self._stopping or not self._due():
                return []
            self._busy = True
            ids = self._deferred.take(self._runner.capacity(), capacity) if self._deferred else []
            ids += [self._waiting.popleft() for _ in range(min(capacity - len(ids), len(self._waiting)))]
        lone = len(ids) == 1 and time.monotonic() - self._claimed_at > LONE_SECONDS
        if lone and self._listening:
            self._more = False  # the next wait for a bell tells, with no question in between
        elif len(ids) < capacity and self._more and not lone:
            taken = self._lists.pop(capacity - len(ids))
            self._more = len(taken) == capacity - len(ids)
            self._message_at = time.monotonic() if taken else self._message_at
            ids += taken
        return ids

    def _listen(self) -> None:
        """Waits for a moment in Celery's place. What was put off waits for room at the same time, so Redis is
        only asked then."""
        if not self._listening or self._due():
            return
        if self._deferred:
            with self._wake:
                self._wake.wait_for(self._due, POLL_SECONDS)
                self._more = True
            return
        for prediction_id in self._lists.wait(LISTEN_SECONDS):
            self.on_message(prediction_id)

    def _claim(self, ids: list[str]) -> None:
        """No more of a version than there is room for: a flood of one model must not keep the others out."""
        capacity, left = self._runner.capacity(), dict[str, str]()
        try:
            if min(capacity.values(), default=AT_ONCE) >= len(ids):
                claimed = self._recorder.claim(ids)
            else:
                claimed, left = self._recorder.claim_within(ids, capacity)
        except Unavailable:
            self._waiting.extendleft(reversed(ids))  # nobody else has heard of them
            raise
        self._deferred.add(left)
        self._start(claimed)
        self._claimed_at = time.monotonic()

    def _claim_oldest(self) -> None:
        while (capacity := min(AT_ONCE, self._capacity())) > 0 and not self._stopping:
            taken = self._recorder.claim_oldest(self._queues, capacity, self._runner.capacity())
            if taken:
                log.info("claimed_without_message", count=len(taken), first=taken[0].id)
            self._start(taken)
            if len(taken) < capacity:
                return

    def _start(self, predictions: Sequence[Prediction]) -> None:
        if predictions:
            self.claimed(predictions)
            self._runner.start(predictions)

    def stop(self) -> None:
        """No more claims; returns when one that is under way has been handed to the runner."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(QUIET_SECONDS * 10)
