"""What the engine knows of a version whatever state its model is in: open work, health, measurements.

Plain data without a lock: guarded by the supervisor's.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any

from app.domain.version_settings import number_of, value_of
from app.domain.work import END, Canceled, Event, Failed, Finished, ModelSpec
from app.engine import deadlines, retry_policy
from app.engine.capacity import DEFAULT_BATCH_SIZE, admissible, next_pace
from app.engine.frames import unpack
from app.engine.open_work import OpenWork
from app.engine.retry_policy import Health
from app.engine.work_items import WorkItem
from app.observe import metrics

log = logging.getLogger(__name__)


class VersionRecord:
    """`batch_size`, `pace` (seconds per item) and `bytes` are the last that were measured, kept from one load
    to the next; `leaving`: it is to be unloaded as soon as it is idle; `last_used` in monotonic seconds."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.work = OpenWork()
        self.health = Health()
        self.pinned = False
        self.leaving = False
        self.last_used = time.monotonic()
        self.batch_size = DEFAULT_BATCH_SIZE
        self.pace = 0.0
        self.bytes = 0

    @property
    def limit(self) -> int:
        """How many items it holds at most."""
        return admissible(self.batch_size, self.pace)

    def accept(self, spec: ModelSpec, items: Sequence[WorkItem]) -> None:
        self.spec = spec
        for item in items:
            self.work.add(item)

    def end(self, item: WorkItem, event: Event) -> None:
        """The ending of an item."""
        if self.work.end(item, event):
            self.last_used = time.monotonic()

    def on_events(self, events: Sequence[Any]) -> None:
        """Packed events of the process, each to its caller."""
        for packed in events:
            wire_id, event = unpack(packed)
            if (item := self.work.open.get(wire_id)) is None:
                continue
            if isinstance(event, END):
                self._on_end(item, event)
            else:
                item.pass_on(event)

    def _on_end(self, item: WorkItem, event: Event) -> None:
        if isinstance(event, Canceled) and item.late_at and not item.cancel_at:
            event = item.timeout_failure(event.metrics)
        if isinstance(event, Finished):
            if not self.health.succeeded or self.health.backoffs:
                self.health = retry_policy.after_success(self.health)
            seconds, batch_size = event.metrics.get("run", 0.0), event.metrics.get("batch_size", 1)
            self.pace = next_pace(self.pace, seconds, batch_size)
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

    def on_crash(self, now: float, reason: str) -> None:
        """Its process died of what it ran, or of nothing that anybody asked for."""
        log.warning("model %s (%s): %s", self.spec.model, self.spec.version, reason)
        metrics.CRASHES.labels(metrics.bounded(self.spec.model)).inc()
        causes = self.work.possible_causes()
        isolated = bool(causes) and all(item.isolation_group for item in causes)
        self.health = retry_policy.after_death(self.health, now, reason, isolated=isolated)
        self.work.blame(reason)

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
