"""The life of one version's model: loads once for all who wait, sends work and passes events on, and sees to
it that every item gets an ending whatever becomes of the process.

What may be done when is the state's (`model_states`); what is known of the version is its `VersionRecord`'s;
how a process comes up is `ModelLoader`'s, memory for it `MemoryBudget`'s; what a death means is
`retry_policy`'s.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from app.domain.errors import ModelUnavailable
from app.domain.work import Canceled, Crashed, Failed, ModelSpec
from app.engine import memory
from app.engine.deadlines import Timeouts
from app.engine.frames import unpack, unpack_answer
from app.engine.memory_budget import MemoryBudget
from app.engine.model_cache import Resident
from app.engine.model_link import ModelLink
from app.engine.model_loader import ModelLoader
from app.engine.model_states import Absent, Loading, ModelState, Ready, without_process
from app.engine.version_record import VersionRecord
from app.engine.work_items import WorkItem, encode_items, refuse

log = logging.getLogger(__name__)


class ModelSupervisor:
    """Thread-safe. `lock` guards everything; nothing is sent while it is held."""

    def __init__(
        self, spec: ModelSpec, loader: ModelLoader, budget: MemoryBudget, timeouts: Timeouts
    ) -> None:
        self.version = spec.version
        self.record = VersionRecord(spec)
        self.state: ModelState = Absent()
        self.lock = threading.RLock()
        self._loader, self._budget = loader, budget
        self.timeouts = timeouts

    def submit(self, spec: ModelSpec, items: Sequence[WorkItem]) -> None:
        """Every item will get an ending."""
        with self.lock:
            now = self.record.last_used = time.monotonic()
            if refusal := self.state.refusal(now):
                refuse(items, refusal)
                return
            self.record.accept(spec, items)
            if self.state.starts_load:
                self._begin_loading()
        self._push()

    def cancel(self, item: WorkItem) -> None:
        with self.lock:
            sent, link = item.sent, self.state.link
            if not sent:
                self.record.end(item, Canceled())
            item.cancel_at = item.cancel_at or time.monotonic()
        if sent and link:
            link.send(["cancel", item.wire_id])
        self._push()

    def load(self, spec: ModelSpec, *, anyway: bool = False) -> None:
        """Returns when the model is ready; `anyway`: although it backs off. Raises ModelUnavailable."""
        with self.lock:
            self.record.leaving = False
            refusal = self.state.refusal(time.monotonic())
            if refusal and not anyway:
                raise ModelUnavailable(refusal.error)
            self.record.spec = spec
            state = self._begin_loading() if self.state.starts_load else self.state
        if isinstance(state, Loading):
            state.wait(self._loader.longest_seconds)
        self.record.last_used = time.monotonic()

    def release(self, *, unload: bool = True) -> None:
        """Forgets its pin; with `unload` goes now, or when it has loaded and nothing of it runs or waits."""
        self.record.pinned, self.record.leaving = False, unload or self.record.leaving
        self.tick(time.monotonic())

    def hold(self, held: bool) -> None:
        """While held, the process gets nothing new, so that it falls idle and can be evicted."""
        with self.lock:
            self.state.hold(held)
        self._push()

    def evict(self, grace: float) -> bool:
        """Ends the process; False when it is in use or there is none."""
        with self.lock:
            state = self.state
            if not isinstance(state, Ready) or state.is_in_use(self.record.work):
                return False
            state.link.expected = True
            self.state, self.record.leaving = Absent(), False
        state.link.close(grace)
        with self.lock:
            if self.record.work and self.state.starts_load:
                self._begin_loading()
        return True

    def give_up(self, reason: str) -> None:
        """Everybody gets the ending `Crashed`: the engine stops."""
        with self.lock:
            state, self.state = self.state, Absent()
            if isinstance(state, Loading):
                state.fail(reason)
            if state.link:
                state.link.expected = True
            self.record.work.end_all(Crashed(reason))
        if state.link:
            state.link.kill()

    def tick(self, now: float) -> None:
        """Time limits, cancels that are not heeded, stalls, idleness, and a new try of what backed off;
        called a few times a second."""
        with self.lock:
            state = self.state
            if state.is_probe_due(now, self.record.last_used):
                self._begin_loading()
            if not isinstance(state, Ready):
                return
            idle = self.record.is_idle(now, self.timeouts)
            silence = state.check_silence(now)
            actions = self.record.enforce_deadlines(now, state.link.last_event_at, self.timeouts, silence)
            if actions.kill and actions.intended:
                state.expect_kill()
        for item in actions.stop:
            state.link.send(["cancel", item.wire_id])
        if actions.kill:
            state.link.kill(actions.reason)
        elif idle:
            self.evict(self.timeouts.evict)
        self._push()

    def resident(self) -> Resident | None:
        """As the memory budget sees it."""
        return self.state.resident(self.record)

    # Loading

    def _begin_loading(self) -> Loading:
        loading = self.state = Loading()
        threading.Thread(target=self._load, args=(loading,), name=f"load-{self.version}", daemon=True).start()
        return loading

    def _load(self, loading: Loading) -> None:
        spec = self.record.spec
        try:
            needed = self.record.bytes or memory.expected_bytes(spec.path)
            self._budget.reserve(self.version, needed, loading)
            link, message = self._loader.load(spec, self, partial(self._attach, loading))
        except Exception as error:  # noqa: BLE001 - whatever went wrong is why the model is not loaded
            self._on_load_failed(loading, str(error) or type(error).__name__)
        else:
            self._on_loaded(loading, link, message)

    def _attach(self, loading: Loading, link: ModelLink) -> bool:
        """Its process is there; False when the load is of no use any more."""
        with self.lock:
            loading.link = link
            return self.state is loading

    def _on_load_failed(self, loading: Loading, reason: str) -> None:
        with self.lock:
            if self.state is loading:
                now = time.monotonic()
                self.record.on_load_failed(now, reason)
                self.state = without_process(self.record.health, now)
                loading.fail(reason)

    def _on_loaded(self, loading: Loading, link: ModelLink, message: Mapping[str, Any]) -> None:
        ready = Ready(loading, link, message, time.monotonic())
        with self.lock:
            if self.state is not loading:
                return
            self.state = ready
            self.record.on_ready(ready.since, ready.batch_size, loading.began)
            loading.succeed()
            if link.dead:
                self._after_death(ready, link.dead)
        self._loader.preload(message.get("imported") or ())
        self._push()
        ready.measure(self.record)
        self._budget.fit(self.version, ready.bytes)

    # Sending and receiving

    def _push(self) -> None:
        """Sends what is due. Called, without the lock, after everything that may have changed that."""
        with self.lock:
            state = self.state
            due = state.take_due(self.record.work)
        if not due or (link := state.link) is None:
            return
        frames, refused = encode_items(due)
        for item, error in refused:
            with self.lock:
                self.record.end(item, Failed(f"the input is not JSON: {error}", code="invalid_input"))
        link.send_frames(frames)

    def on_messages(self, link: ModelLink, messages: Sequence[Any]) -> None:
        for kind, value, *data in messages:
            if kind in ("events", "answer"):
                with self.lock:
                    if link is self.state.link:  # what an earlier process has to say is of no use any more
                        self.record.on_events([unpack_answer(value, *data)] if data else map(unpack, value))
            elif kind == "log":
                log.info("model %s: %s", self.record.spec.model or self.version, value.rstrip())
            else:
                link.note(kind, value)
        self._push()

    def on_death(self, link: ModelLink, reason: str) -> None:
        with self.lock:
            if isinstance(self.state, Ready) and link is self.state.link:
                self._after_death(self.state, reason)

    def _after_death(self, ready: Ready, reason: str) -> None:
        now = time.monotonic()
        if not ready.link.expected:
            self.record.on_crash(now, reason, ready.link.last_output)
        self.state = without_process(self.record.health, now)
        if refusal := self.state.refusal(now):
            self.record.work.end_all(refusal)
        self.record.work.requeue(reason, interrupted=ready.interrupted)
        if self.record.work:
            self._begin_loading()
