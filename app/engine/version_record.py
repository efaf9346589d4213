"""What the engine knows of a version whatever state its model is in: open work, health, measurements.

Plain data without a lock: guarded by the supervisor's.
"""

import logging
import time
from collections.abc import Iterable, Sequence

from app.domain.version_settings import number_of, value_of
from app.domain.work import END, Canceled, Chunk, Event, Failed, Finished, ModelSpec, Progress
from app.engine import deadlines, retry_policy
from app.engine.capacity import DEFAULT_BATCH_SIZE, admissible, next_pace
from app.engine.open_work import OpenWork
from app.engine.retry_policy import Death, Health
from app.engine.work_items import WorkItem, refuse
from app.observe import metrics

log = logging.getLogger(__name__)

# Whose inputs killed its process.
REMEMBERED_CALLERS = 256


class VersionRecord:
    """`batch_size`, `pace` (seconds per item) and `bytes` are the last that were measured, kept from one load
    to the next; `last_batch` items were in the batch that ended last, `padding` is the share of it that was
    none of theirs; `leaving`: it is to be unloaded as soon as it is idle; `last_used` in monotonic
    seconds."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.work = OpenWork()
        self.health = Health()
        self._callers: dict[str, Health] = {}
        self.pinned = False
        self.leaving = False
        self.last_used = time.monotonic()
        self.batch_size = DEFAULT_BATCH_SIZE
        self.pace = 0.0
        self.last_batch = 0
        self.padding = 0.0
        self.bytes = 0

    @property
    def limit(self) -> int:
        """How many items it holds at most."""
        return admissible(self.batch_size, self.pace)

    def accept(self, spec: ModelSpec, items: Sequence[WorkItem]) -> None:
        self.spec = spec
        now = time.monotonic()
        for item in items:
            if self._callers and (refusal := self.refusal(item.work.caller, now)):
                refuse([item], refusal)
            else:
                self.work.add(item)

    def end(self, item: WorkItem, event: Event) -> None:
        """The ending of an item."""
        if self.work.end(item, event):
            self.last_used = time.monotonic()

    def on_events(self, events: Iterable[tuple[str, Event]]) -> None:
        """Events of the process, each to its caller."""
        for wire_id, event in events:
            if (item := self.work.open.get(wire_id)) is None:
                continue
            if isinstance(event, END):
                self._on_end(item, event)
                continue
            item.pass_on(event)
            if item.deaths and isinstance(event, Chunk | Progress):
                self.work.on_progress(item, time.monotonic())

    def _on_end(self, item: WorkItem, event: Event) -> None:
        if isinstance(event, Canceled) and item.late_at and not item.cancel_at:
            event = item.timeout_failure(event.metrics)
        if isinstance(event, Finished):
            if not self.health.succeeded or self.health.backoffs:
                self.health = retry_policy.after_success(self.health)
            seconds, batch_size = event.metrics.get("run", 0.0), event.metrics.get("batch_size", 1)
            self.pace = next_pace(self.pace, seconds, batch_size)
            self.last_batch, self.padding = batch_size, event.metrics.get("padding", 0.0)
        self.end(item, event)

    def on_ready(self, now: float, batch_size: int, load_began: float) -> None:
        """Its model has loaded; everybody here waited for it."""
        metrics.LOADS.labels(metrics.bounded(self.spec.model), "ready").inc()
        metrics.LOAD_SECONDS.observe(now - load_began)
        self.last_used = now
        self.health = retry_policy.after_load(self.health)
        self.pinned = self.pinned or bool(value_of(self.spec.config, "pin"))
        self.batch_size = batch_size
        self.work.add_load_seconds(load_began, now)

    def on_load_failed(self, now: float, reason: str) -> None:
        """Everybody who waited for it fails."""
        log.warning("model %s (%s) could not be loaded: %s", self.spec.model, self.spec.version, reason)
        metrics.LOADS.labels(metrics.bounded(self.spec.model), "failed").inc()
        self.health = retry_policy.after_failed_load(self.health, now, reason)
        self.work.end_all(Failed(f"the model could not be loaded: {reason}", code="model_unavailable"))

    def on_crash(self, now: float, reason: str, last_output: str = "") -> None:
        """Its process died of what it ran, or of nothing that anybody asked for. What it wrote last may
        repeat an input: that is said to whoever was alone in it, and to nobody else."""
        log.warning("model %s (%s): %s%s", self.spec.model, self.spec.version, reason, last_output)
        metrics.CRASHES.labels(metrics.bounded(self.spec.model)).inc()
        causes = self.work.possible_causes()
        isolated = bool(causes) and all(item.isolation_group for item in causes)
        caller = ""
        if blamed := self.work.blame(reason + last_output, now):
            caller = blamed.work.caller
            self.health = retry_policy.after_blame(self.health, blamed.suspected_at)
        self.health = retry_policy.after_death(
            self.health, Death(now, caller), reason, isolated=isolated and not caller
        )
        if caller:
            self._block_caller(caller, now, reason)

    def _block_caller(self, caller: str, now: float, reason: str) -> None:
        """Should the caller's inputs go on killing its process, it takes no more of them for a while."""
        health = retry_policy.after_death(
            self._callers.pop(caller, Health()), Death(now), reason, isolated=False
        )
        self._callers[caller] = health
        if len(self._callers) > REMEMBERED_CALLERS:
            del self._callers[next(iter(self._callers))]
        for item in [item for item in self.work.open.values() if item.work.caller == caller]:
            if refusal := self.refusal(caller, now):
                self.end(item, refusal)

    def refusal(self, caller: str, now: float) -> Failed | None:
        """The ending of work of a caller whose inputs have killed its process again and again."""
        health = self._callers.get(caller)
        if health is None or not health.blocked(now):
            return None
        reason = f"your inputs have killed this model's process {retry_policy.LOOP_DEATHS} times in a minute"
        seconds = health.until - now
        return Failed(f"{reason}; it takes others of yours in {seconds:.0f} s", code="model_unavailable")

    def enforce_deadlines(
        self, now: float, last_event_at: float, timeouts: deadlines.Timeouts, silence: float
    ) -> deadlines.Actions:
        """Ends what ran too long and what does not heed a cancel; to ask items to stop and to kill is left to
        the caller."""
        actions = deadlines.check(list(self.work.open.values()), now, last_event_at, timeouts, silence)
        for item in actions.stop:
            item.late_at = now
        for item in actions.timed_out:
            self.end(item, item.timeout_failure())
        for item in actions.canceled:
            self.end(item, Canceled())
        if actions.isolate:
            self.work.isolate(actions.isolate)
        return actions

    def is_idle(self, now: float, timeouts: deadlines.Timeouts) -> bool:
        """Whether its model should be unloaded."""
        if self.work or self.pinned:
            return False
        keep_alive = number_of(self.spec.config, "keep_alive")
        return self.leaving or deadlines.is_idle(now - self.last_used, keep_alive, timeouts)

    def is_forgettable(self, now: float, seconds: float) -> bool:
        """Whether it has not been used for so long, and nothing is to be remembered."""
        return not self.work and now - self.last_used > seconds and now > self.health.until
