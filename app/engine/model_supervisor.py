"""One version in the engine: its process, the works that wait for it or run in it, its health.

Owns the life of a version: loads once for all who wait, passes events on, and sees to it that every work gets
an ending whatever becomes of the process. When to load and what to evict for it is the engine's; what a death
means is `retry_policy`'s.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.errors import ModelUnavailable
from app.domain.version_settings import number_of, value_of
from app.domain.work import END, Canceled, Chunk, Crashed, Event, Failed, Finished, Log, ModelSpec, Started
from app.engine import deadlines, retry_policy
from app.engine.batch_policy import Limits
from app.engine.fork_client import ForkServerDied
from app.engine.frames import encode, unpack
from app.engine.memory import pss
from app.engine.model_link import ModelLink
from app.engine.open_work import OpenWork
from app.engine.retry_policy import Health
from app.engine.work_items import WorkItem
from app.observe import metrics

log = logging.getLogger(__name__)

FORK_TRIES = 3
# How much the newest work counts in the seconds that a work takes its model on average.
PACE_SHARE = 0.1
DEFAULT_BATCH_SIZE = Limits().size


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What the engine gives to every host."""

    open_link: Callable[["ModelSupervisor"], ModelLink]
    make_room: Callable[["ModelSupervisor"], None]
    fit: Callable[["ModelSupervisor"], None]
    order: Callable[[ModelSpec], dict[str, Any]]
    preload: Callable[[Sequence[str]], None]
    timeouts: deadlines.Timeouts


class DiedLoadingError(ModelUnavailable):
    """The process ended while it loaded, without a word of why."""


class ModelSupervisor:
    """Thread-safe. `lock` guards everything; nothing is sent while it is held."""

    def __init__(self, spec: ModelSpec, terms: Callbacks) -> None:
        self.spec, self._terms = spec, terms
        self.lock = threading.RLock()
        self.items = OpenWork()
        self.link: ModelLink | None = None
        self.state = "absent"
        self.health = Health()
        self.pinned = False
        self.held = False
        self.leaving = False
        self.pace = 0.0
        self.bytes = 0
        self.declared_bytes = 0
        self.load_seconds = 0.0
        self.ready_at = 0.0
        self.last_used = time.monotonic()
        self.batch_size = DEFAULT_BATCH_SIZE
        self.load_log = ""
        self.facts: dict[str, Any] = {}
        self._loaded = threading.Condition(self.lock)

    # What callers ask

    def submit(self, spec: ModelSpec, items: Sequence[WorkItem]) -> None:
        """Every ticket will get an ending."""
        with self.lock:
            self.last_used = time.monotonic()
            if self.health.blocked(self.last_used):
                for item in items:
                    item.handle.put(self._unavailable())
                return
            self.spec = spec
            for item in items:
                self.items.add(item)
            if self.state == "absent":
                self._begin_loading()
        self._push()

    def cancel(self, item: WorkItem) -> None:
        with self.lock:
            sent = item.sent
            if not sent:
                self.finish(item, Canceled())
            item.cancel_at = item.cancel_at or time.monotonic()
            link = self.link
        if sent and link:
            link.send(["cancel", item.wire_id])
        self._push()

    def load(self, spec: ModelSpec, timeout: float, *, anyway: bool = False) -> None:
        """Returns when the model is ready; `anyway`: although it backs off. Raises ModelUnavailable."""
        with self.lock:
            self.leaving = False
            if self.health.blocked(time.monotonic()) and not anyway:
                raise ModelUnavailable(self._unavailable().error)
            self.spec = spec
            if self.state == "absent":
                self._begin_loading()
            self._loaded.wait_for(lambda: self.state != "loading", timeout)
            if self.state != "ready":
                raise ModelUnavailable(self.health.reason or "the model was not ready in time")
            self.last_used = time.monotonic()

    def evict(self, grace: float) -> bool:
        """Ends the process; False when it is in use or there is none."""
        with self.lock:
            link = self.link
            if self.in_use or link is None or self.state != "ready":
                return False
            link.expected = True
            self.link, self.state, self.held, self.leaving = None, "absent", False, False
        link.close(grace)
        with self.lock:
            if self.items and self.state == "absent":
                self._begin_loading()
        return True

    @property
    def in_use(self) -> bool:
        """Whether it must not be evicted now. A held one only ends what it has begun."""
        return self.state == "loading" or bool(self.items.in_flight if self.held else self.items)

    def hold(self, held: bool) -> None:
        """Sends nothing new to the process, so that it falls idle and can make room for a model that waits
        for long."""
        self.held = held
        self._push()

    def give_up(self, reason: str) -> None:
        """Everybody gets the ending `Crashed`: the engine stops."""
        with self.lock:
            link, self.link, self.state = self.link, None, "absent"
            if link:
                link.expected = True
            self.items.end_all(Crashed(reason))
        if link:
            link.kill()

    # Loading

    def _begin_loading(self) -> None:
        self.state = "loading"
        threading.Thread(
            target=self._load, name=f"load-{self.spec.model or self.spec.version}", daemon=True
        ).start()

    def _load(self) -> None:
        began = time.monotonic()
        try:
            self._terms.make_room(self)
            link, ready = self._brought_up()
        except Exception as error:  # noqa: BLE001 - whatever went wrong is why the model is not loaded
            self._load_failed(str(error) or type(error).__name__)
            return
        self._load_done(link, ready, began)

    def _brought_up(self) -> tuple[ModelLink, dict[str, Any]]:
        """A process that was killed while it loaded is tried once more: that need not be the model's
        fault."""
        for last in (False, True):
            link = self._forked()
            link.send(["load", self._terms.order(self.spec)])
            try:
                return link, self._until_ready(link)
            except DiedLoadingError as error:
                if last:
                    raise
                log.warning("loading %s again: %s", self.spec.version, error)
        raise AssertionError("the last try returns or raises")

    def _forked(self) -> ModelLink:
        for _ in range(FORK_TRIES - 1):
            try:
                return self._open()
            except ForkServerDied as error:
                log.warning("forking %s again: %s", self.spec.version, error)
        return self._open()

    def _open(self) -> ModelLink:
        link = self._terms.open_link(self)
        with self.lock:
            if self.state == "loading":
                self.link = link
                return link
        link.close(0.0)
        raise ModelUnavailable("the engine is stopping")

    def _until_ready(self, link: ModelLink) -> dict[str, Any]:
        seconds = self._terms.timeouts.setup
        try:
            return link.ready.result(seconds)
        except TimeoutError:
            link.expected = True
            link.kill()
            raise ModelUnavailable(f"loading took longer than {seconds:g} s") from None

    def _load_failed(self, reason: str) -> None:
        log.warning("model %s (%s) could not be loaded: %s", self.spec.model, self.spec.version, reason)
        metrics.LOADS.labels(metrics.bounded(self.spec.model), "failed").inc()
        with self.lock:
            self.link, self.state = None, "absent"
            self.health = retry_policy.after_failed_load(self.health, time.monotonic(), reason)
            self.items.end_all(Failed(f"the model could not be loaded: {reason}", code="model_unavailable"))
            self._loaded.notify_all()

    def _load_done(self, link: ModelLink, ready: dict[str, Any], began: float) -> None:
        now = time.monotonic()
        metrics.LOADS.labels(metrics.bounded(self.spec.model), "ready").inc()
        metrics.LOAD_SECONDS.observe(now - began)
        with self.lock:
            if self.link is not link:
                return
            self.state, self.load_seconds, self.last_used, self.ready_at = "ready", now - began, now, now
            self.health = retry_policy.after_load(self.health)
            self.pinned = self.pinned or bool(value_of(self.spec.config, "pin"))
            self.declared_bytes = int(ready.get("bytes") or 0)
            self.facts = dict(ready.get("facts") or {})
            self.batch_size = int(ready.get("max_batch_size") or DEFAULT_BATCH_SIZE)
            for item in self.items.open.values():
                item.load += now - max(began, item.at)
            self._loaded.notify_all()
            if link.dead:
                self._after_death(link, link.dead)
        self._terms.preload(ready.get("imported") or ())
        self._push()
        self.weigh()
        self._terms.fit(self)

    def weigh(self) -> None:
        """Measures it: on an accelerator the bytes it holds there, else the process's own share of memory.

        Without the lock: reading a large process's page tables takes milliseconds.
        """
        link, declared = self.link, self.declared_bytes
        if link is None or self.state != "ready":
            return
        if self.spec.device.startswith("cpu") or not declared:
            self.bytes = max(pss(link.pid), declared)
        else:
            self.bytes = declared

    # Sending and hearing

    def _push(self) -> None:
        """Sends what is to be sent now. Called, without the lock, after everything that may have changed
        it."""
        with self.lock:
            link = self.link
            if self.held or self.state != "ready" or link is None or not (due := self.items.due()):
                return
            self.items.claim(due)
        self._send(link, due)

    def _send(self, link: ModelLink, items: Sequence[WorkItem]) -> None:
        frames: list[bytes] = []
        for item in items:
            work = item.work
            try:
                frames.append(
                    encode(
                        [
                            "work",
                            item.wire_id,
                            work.input,
                            work.folder,
                            item.at,
                            item.load,
                            item.isolation_group,
                        ]
                    )
                )
            except TypeError as error:
                with self.lock:
                    self.finish(item, Failed(f"the input is not JSON: {error}", code="invalid_input"))
        link.send_frames(frames)
        if canceled := [encode(["cancel", item.wire_id]) for item in items if item.cancel_at]:
            link.send_frames(
                canceled
            )  # also of who was canceled just now, whose cancel may have overtaken the work

    def on_messages(self, link: ModelLink, messages: Sequence[Any]) -> None:
        for kind, value in messages:
            if kind == "events":
                with self.lock:
                    for packed in value:
                        self._on_event(link, *unpack(packed))
            elif kind == "log":
                self._on_log(link, value)
            else:
                link.note(kind, value)
        self._push()

    def _on_log(self, link: ModelLink, text: str) -> None:
        if not link.ready.done():
            self.load_log = (self.load_log + text)[-10_000:]
        log.info("model %s: %s", self.spec.model or self.spec.version, text.rstrip())

    def _on_event(self, link: ModelLink, wire_id: str, event: Event) -> None:
        item = self.items.open.get(wire_id)
        if item is None or link is not self.link:
            return
        if isinstance(event, END):
            self._on_end(item, event)
        elif isinstance(event, Started):
            item.started, item.seen = time.monotonic(), 0
            if not item.announced:
                item.announced = True
                item.handle.put(event)
        elif isinstance(event, Chunk):
            item.seen += 1
            if item.seen > item.delivered:
                item.delivered = item.seen
                item.handle.put(event)
        elif isinstance(event, Log) or item.seen >= item.delivered:
            item.handle.put(event)

    def _on_end(self, item: WorkItem, event: Event) -> None:
        if isinstance(event, Finished):
            if not self.health.succeeded or self.health.backoffs:
                self.health = retry_policy.after_success(self.health)
            seconds = event.metrics.get("run", 0.0) / max(1, event.metrics.get("batch_size", 1))
            self.pace += (PACE_SHARE if self.pace else 1.0) * (seconds - self.pace)
        self.finish(item, event)

    def finish(self, item: WorkItem, event: Event) -> None:
        """The ending of a work. The lock is held."""
        if self.items.end(item, event):
            self.last_used = time.monotonic()

    # Deaths

    def on_death(self, link: ModelLink, reason: str) -> None:
        if not link.ready.done():
            link.ready.set_exception(DiedLoadingError(f"while loading, {reason}"))
        with self.lock:
            if link is self.link and self.state == "ready":
                self._after_death(link, reason)

    def _after_death(self, link: ModelLink, reason: str) -> None:
        self.link, self.state = None, "absent"
        if not link.expected:
            log.warning("model %s (%s): %s", self.spec.model, self.spec.version, reason)
            metrics.CRASHES.labels(metrics.bounded(self.spec.model)).inc()
            self._blame(reason)
        self.items.survive(reason)
        if self.items:
            self._begin_loading()

    def _blame(self, reason: str) -> None:
        suspects = self.items.suspects()
        isolated = bool(suspects) and all(item.isolation_group for item in suspects)
        self.health = retry_policy.after_death(self.health, time.monotonic(), reason, isolated=isolated)
        self.items.blame(reason)
        if self.health.blocked(time.monotonic()):
            self.items.end_all(self._unavailable())

    def _unavailable(self) -> Failed:
        seconds = max(0.0, self.health.until - time.monotonic())
        return Failed(
            f"the model is unavailable: {self.health.reason}; tried again in {seconds:.0f} s",
            code="model_unavailable",
        )

    # The clock

    def tick(self, now: float) -> None:
        """Time limits, stuck cancels, stalls, idleness, and a new try of what was unhealthy; called a few
        times a second."""
        with self.lock:
            if self.state == "absent" and self.health.probe_due(now, self.last_used):
                self._begin_loading()
            link, idle = self.link, self._idle(now)
            if link is None or self.state != "ready":
                return
            actions = deadlines.check(
                list(self.items.open.values()), now, link.last_message_at, self._terms.timeouts
            )
            self._carry_out(link, actions)
        if actions.kill:
            link.kill()
        elif idle:
            self.evict(self._terms.timeouts.evict)
        self._push()

    def _carry_out(self, link: ModelLink, actions: deadlines.Actions) -> None:
        for item in actions.timed_out:
            self.finish(
                item, Failed(f"it ran longer than its limit of {item.work.timeout:g} s", code="run_timeout")
            )
        for item in actions.canceled:
            self.finish(item, Canceled())
        if actions.isolate:
            self.items.isolate(actions.isolate)
        if actions.kill and actions.intended:
            link.expected = True

    def _idle(self, now: float) -> bool:
        if self.items or self.pinned:
            return False
        return self.leaving or deadlines.is_idle(
            now - self.last_used, number_of(self.spec.config, "keep_alive"), self._terms.timeouts
        )
