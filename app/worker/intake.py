"""Brings waiting predictions to this worker: by their messages, by what else lies in its queues, and straight
from Postgres.

One thread claims whatever waits in one statement (DESIGN, principle 3). Celery hands over the first message
after a rest. While more come, they are read from the same Redis lists here, in bulk: Celery's consumer costs
some 0.6 ms of CPU for each.

While there is capacity for all that comes, it is claimed by its id, first come first served. What there is
none for is deferred, and as long as anything is, whatever comes joins it and is claimed in turn between users
(worker/backlog.py). When no message has come for a while, and once in a while although they come, Postgres
is asked who waits: a message may have been lost, or forgotten behind too many.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from enum import Enum, auto
from typing import TypeVar

import structlog

from app.broker.queue_lists import QueueLists
from app.domain.errors import Unavailable
from app.domain.predictions import Prediction
from app.observe import metrics
from app.services.predictions.lifecycle import Lifecycle
from app.worker.backlog import Backlog
from app.worker.identity import WorkerIdentity
from app.worker.runner import Runner

T = TypeVar("T")
log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
QUIET_SECONDS = 1.0  # a message is faster than looking; silence this long makes a look worth it
LOOK_ANYWAY_SECONDS = 5.0
LONE_SECONDS = 0.002  # a message so long after the last claim is claimed before Redis is asked for more
LISTEN_FOR_SECONDS = 0.2  # silence after which Celery listens again
LISTEN_SECONDS = 0.05  # for each wait for a message; stopping waits as long
POLL_SECONDS = 0.02  # between looks into Redis while something deferred waits for capacity
AT_ONCE = 64  # claimed in one statement; siblings that are as fast get their share of a flood

_by_message, _in_turn, _by_poll = (metrics.CLAIMED.labels(how) for how in ("message", "turn", "poll"))


class State(Enum):
    """IDLE: Celery's consumer waits for messages. LISTENING: the intake does, in its stead. CLAIMING: a claim
    is under way. STOPPED: nothing more is claimed."""

    IDLE = auto()
    LISTENING = auto()
    CLAIMING = auto()
    STOPPED = auto()


class Intake:
    """`on_message` is called at every message, `on_capacity` when something ended. Calls `on_claimed` with
    what is about to run, and `on_idle` when Celery may listen again."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        identity: WorkerIdentity,
        runner: Runner,
        lists: QueueLists,
        queues: Sequence[str],
        slots: int,
    ) -> None:
        self._lifecycle, self._identity = lifecycle, identity
        self._runner, self._lists = runner, lists
        self._slots = slots
        self.on_claimed: Callable[[Sequence[Prediction]], None] = lambda predictions: None
        self.on_idle: Callable[[], None] = lambda: None
        self._ids: deque[str] = deque()
        self._backlog = Backlog(lifecycle, identity, runner, queues)
        self._unread = False  # Redis may hold messages that nobody has read
        self._state = State.IDLE
        self._is_paused = False
        self._message_at = time.monotonic()
        self._claimed_at = time.monotonic()
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def on_message(self, prediction_id: str) -> None:
        """A message came just now."""
        with self._wake:
            self._message_at = time.monotonic()
            self._ids.append(prediction_id)
            self._unread = True
            self._wake.notify()

    def pause(self) -> None:
        """Nothing more is claimed until `resume`, and no message is read."""
        with self._wake:
            self._is_paused = True
            self._ids.clear()  # what they are about waits, and others find it

    def resume(self) -> None:
        """Claims go on."""
        with self._wake:
            self._is_paused = False
            self._wake.notify()

    def pause_queues(self, queues: Collection[str]) -> None:
        """Nothing is claimed out of these; their messages are read, and looking at the rows makes up for them
        afterwards."""
        self._backlog.paused = frozenset(queues)

    def on_capacity(self) -> None:
        """Something ended here."""
        with self._wake:
            self._wake.notify()

    @property
    def is_reading(self) -> bool:
        """Whether Celery should leave further messages where they are: they are read from here, in bulk, or
        not at all."""
        is_busy = self._state is not State.IDLE or self._unread or bool(self._ids)
        return is_busy or self._is_paused or self._free_slots() <= 0

    @property
    def _is_stopped(self) -> bool:
        return self._state is State.STOPPED

    def _free_slots(self) -> int:
        if self._is_paused:
            return 0
        return self._slots - len(self._runner.in_flight)

    def _enter(self, state: State) -> None:
        with self._wake:
            if not self._is_stopped:
                self._state = state

    def _run(self) -> None:
        while not self._is_stopped:
            try:
                self._claim_next()
            except Unavailable:
                log.warning("messages_not_claimed", reason="the database cannot be reached")
                time.sleep(LOOK_SECONDS)
            except Exception:  # a worker that claims nothing any more would look healthy
                log.exception("intake_broken")
                time.sleep(LOOK_SECONDS)
            finally:
                self._rest()

    def _claim_next(self) -> None:
        ids = self._next_ids()
        if self._backlog.deferred.count:
            self._or_keep(ids, self._backlog.add_by_ids)
            _in_turn.inc(self._claim_in_turn())
        elif ids:
            self._claim(ids)
        is_silent = not ids and not self._unread and time.monotonic() - self._message_at > QUIET_SECONDS
        is_due = self._backlog.is_look_due(is_silent=is_silent, seconds=LOOK_ANYWAY_SECONDS)
        if is_due and self._free_slots() > 0 and not self._is_stopped and self._backlog.look():
            _by_poll.inc(count := self._claim_in_turn())
            log.info("claimed_without_message", count=count)

    def _rest(self) -> None:
        is_full = self._free_slots() <= 0
        self._unread = self._unread or is_full  # nobody reads then
        is_lively = time.monotonic() - self._message_at < LISTEN_FOR_SECONDS
        self._enter(State.LISTENING if is_lively and not is_full else State.IDLE)
        if not self.is_reading:
            self.on_idle()

    def _is_due(self) -> bool:
        """Whether there is something to claim and capacity for it, or an end of it all."""
        if self._is_stopped or self._free_slots() <= 0:
            return self._is_stopped
        if self._ids or self._unread:
            return True
        return self._backlog.has_capacity()

    def _next_ids(self) -> list[str]:
        """What to claim now; waits for it, but not longer than until the next look."""
        was_listening = self._state is State.LISTENING
        if was_listening and not self._is_due():
            self._listen()
        with self._wake:
            self._wake.wait_for(self._is_due, 0 if was_listening else LOOK_SECONDS)
            limit = min(AT_ONCE, self._free_slots())
            if self._is_stopped or not self._is_due():
                return []
            self._state = State.CLAIMING
            ids = [self._ids.popleft() for _ in range(min(limit, len(self._ids)))]
        is_lone = len(ids) == 1 and time.monotonic() - self._claimed_at > LONE_SECONDS
        if is_lone and was_listening:
            self._unread = False  # the next wait for a message shows it, with no question in between
        elif len(ids) < limit and self._unread and not is_lone:
            ids += self._read(limit - len(ids))
        return ids

    def _read(self, limit: int) -> list[str]:
        """At most so many messages from Redis."""
        ids = self._lists.pop(limit)
        self._unread = len(ids) == limit
        if ids:
            self._message_at = time.monotonic()
        return ids

    def _listen(self) -> None:
        """Waits for a moment in Celery's stead. What was deferred waits for capacity at the same time, so
        Redis is only asked then."""
        if self._backlog.deferred.count:
            with self._wake:
                self._wake.wait_for(self._is_due, POLL_SECONDS)
                self._unread = True
            return
        for prediction_id in self._lists.wait(LISTEN_SECONDS):
            self.on_message(prediction_id)

    def _claim(self, ids: list[str]) -> None:
        """No more of a version than there is capacity for: a flood of one model must not keep the others
        out."""
        left, paused = self._runner.capacity(), self._backlog.paused
        claimed = self._or_keep(ids, lambda ids: self._lifecycle.claim(ids, self._identity.id, left, paused))
        if claimed.deferred:
            self._backlog.add(claimed.deferred)
        _by_message.inc(len(claimed.predictions))
        self._start(claimed.predictions)

    def _claim_in_turn(self) -> int:
        """Claims of the backlog as much as there is capacity for. Returns how many."""
        ids = self._backlog.pop(min(AT_ONCE, self._free_slots()))
        claimed = self._or_keep(ids, self._backlog.claim)
        self._start(claimed)
        return len(claimed)

    def _or_keep(self, ids: list[str], step: Callable[[list[str]], T]) -> T:
        """Nobody else knows of their messages: they come again when the database cannot be reached."""
        try:
            return step(ids)
        except Unavailable:
            self._ids.extendleft(reversed(ids))
            raise

    def _start(self, predictions: Sequence[Prediction]) -> None:
        if predictions:
            self.on_claimed(predictions)
            self._runner.start(predictions)
            self._claimed_at = time.monotonic()

    def stop(self) -> None:
        """No more claims; returns when one that is under way has been handed to the runner."""
        with self._wake:
            self._state = State.STOPPED
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(QUIET_SECONDS * 10)
