"""The engine: gives works to loaded models, loads them on demand, evicts them for room, watches over their
time limits.

Thread-safe; called from a worker's threads. It knows model specs and works; it does not know where they come
from, nor where their events go.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from app.domain.errors import ModelUnavailable
from app.domain.work import Crashed, Event, ModelSpec, Work
from app.engine import memory, model_cache
from app.engine.batch_policy import LOOK_AHEAD
from app.engine.deadlines import Timeouts
from app.engine.fork_client import ForkServerClient
from app.engine.model_link import ModelLink
from app.engine.model_supervisor import DEFAULT_BATCH_SIZE, Callbacks, ModelSupervisor
from app.engine.work_items import Handle, WorkItem

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1
# A worker admits two batches' worth of a version: one runs, one waits. Of a quick one more, up to what runs
# in so many seconds: batches are cut from what waits, and a larger choice means less padding (windows of 128
# lose 15 %, 512 5 %).
BATCHES_ADMITTED, BATCHES_OF_QUICK = 2, LOOK_AHEAD
ADMITTED_SECONDS = 2.0
UNMEASURED = BATCHES_ADMITTED * DEFAULT_BATCH_SIZE
# Importing torch, transformers and diffusers took 12 s on a busy machine.
FORK_SECONDS = 120.0
# How long a load waits for models in use to become idle before it goes ahead over the budget, or is refused.
ROOM_SECONDS, ROOM_POLL_SECONDS = 10.0, 0.05
# After so long the model that has been loaded for longest gets nothing new, so that traffic cannot keep
# others out.
HOLD_SECONDS = 2.0
FORGET_SECONDS = 600.0

TORCH = (
    "torch",
    "safetensors.torch",
    "transformers:AutoModel",
    "transformers:AutoTokenizer",
    "transformers:AutoModelForCausalLM",
    "transformers.modeling_utils",
    "transformers.models.bert.modeling_bert",
)
DIFFUSERS = ("diffusers:StableDiffusionPipeline", "diffusers:StableDiffusionXLPipeline")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """`preload`: what the fork server imports (`module` or `module:attribute`; TORCH and DIFFUSERS are good
    choices). `budget_bytes` for all loaded models (0: `share` of the memory that is free at start). `free`:
    the bytes that are free now where models are loaded. `threads`: for the environment of every model
    process; the same number as the specs'. `process_bytes`: most private memory of one process (0: no limit).
    `runtime_folders`: searched for runtimes that are not built in. `curve_folder`: where measured cost curves
    are kept ("": measured at every load)."""

    preload: tuple[str, ...] = ()
    budget_bytes: int = 0
    share: float = 0.5
    free: Callable[[], int] = memory.free_bytes
    threads: int = 1
    process_bytes: int = 0
    runtime_folders: tuple[str, ...] = ()
    cost_folder: str = ""
    timeouts: Timeouts = field(default_factory=Timeouts)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A version as the engine sees it. `state` is loading, ready, failed (its last load did) or unhealthy
    (then `reason` and `retry_in` seconds say more), or absent; `bytes` is the measured share of memory (PSS,
    or the weights on an accelerator); `idle` in seconds; `last_used` in Unix time; `pace` is the seconds that
    one work took it lately; `limit` how many it holds at most; `facts` what was chosen and measured at its
    load."""

    version: str
    model: str
    state: str
    bytes: int
    in_use: int
    load_seconds: float
    last_used: float
    idle: float
    pinned: bool = False
    pid: int = 0
    batch_size: int = DEFAULT_BATCH_SIZE
    reason: str = ""
    retry_in: float = 0.0
    pace: float = 0.0
    limit: int = UNMEASURED
    facts: dict[str, Any] = field(default_factory=dict)


class Engine:
    """`start` once, `stop` once."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._client = ForkServerClient(options.preload, options.threads)
        self._budget = options.budget_bytes or int(options.free() * options.share)
        self._supervisors: dict[str, ModelSupervisor] = {}
        self._lock = threading.Lock()
        self._room = threading.Lock()
        self._stopping = threading.Event()
        self._serial = itertools.count(2)
        self._monitor = threading.Thread(target=self._watch, name="engine-monitor", daemon=True)
        self._terms = Callbacks(
            open_link=lambda supervisor: ModelLink(self._client, supervisor, FORK_SECONDS),
            make_room=self._make_room,
            fit=self._settle,
            order=partial(load_message, options),
            preload=self._client.preload,
            timeouts=options.timeouts,
        )

    def start(self) -> None:
        """Returns at once; the fork server imports its libraries meanwhile."""
        self._client.start()
        self._monitor.start()

    def submit(self, spec: ModelSpec, work: Work) -> Handle:
        """Never blocks for the model and never raises: whatever goes wrong is the handle's ending event."""
        return self.submit_all(spec, [(work, None)])[0]

    def submit_all(
        self, spec: ModelSpec, group: Sequence[tuple[Work, Callable[[Event], None] | None]]
    ) -> list[Handle]:
        """Several works of one version, each with the sink of its events (see Handle), sent to the model at
        once."""
        handles = [Handle(work.id, sink) for work, sink in group]
        if self._stopping.is_set():
            for handle in handles:
                handle.put(Crashed("the worker is stopping"))
            return handles
        supervisor = self._supervisor(spec)
        items = [
            WorkItem(work, self._wire_id(supervisor, work.id), handle)
            for (work, _), handle in zip(group, handles, strict=True)
        ]
        for item in items:
            item.handle.on_cancel(partial(supervisor.cancel, item))
        supervisor.submit(spec, items)
        return handles

    def is_ready(self, version: str) -> bool:
        """Whether the version is loaded."""
        supervisor = self._supervisors.get(version)
        return supervisor is not None and supervisor.state == "ready"

    def load(self, spec: ModelSpec, *, pin: bool | None = None, anyway: bool = False) -> LoadedModel:
        """Returns when the model is ready; `pin` keeps it from being evicted or unloaded, as `pin` of its
        configuration does. `anyway`: although it backs off after deaths or failed loads. Raises
        ModelUnavailable."""
        supervisor = self._supervisor(spec)
        if pin is not None:
            supervisor.pinned = pin
        supervisor.load(spec, self._options.timeouts.setup + FORK_SECONDS, anyway=anyway)
        return describe(supervisor)

    def unload(self, version: str) -> bool:
        """Ends the version's process and forgets its pin; False when it is in use, loading or not there."""
        supervisor = self._supervisors.get(version)
        if supervisor is None or not supervisor.evict(self._options.timeouts.evict):
            return False
        supervisor.pinned = False
        return True

    def release(self, version: str) -> None:
        """Forgets the version's pin and unloads it now, or when it has loaded and nothing of it runs or
        waits."""
        if supervisor := self._supervisors.get(version):
            supervisor.pinned, supervisor.leaving = False, True
            supervisor.tick(time.monotonic())

    def models(self) -> list[LoadedModel]:
        """All versions that are loaded, loading or unhealthy; memory is measured now."""
        described = [describe(supervisor) for supervisor in self._all()]
        return [model for model in described if model.state != "absent"]

    def states(self) -> dict[str, str]:
        """The state of each of them, without measuring."""
        found = {supervisor.spec.version: state_of(supervisor) for supervisor in self._all()}
        return {version: state for version, state in found.items() if state != "absent"}

    def admitted(self, version: str) -> int:
        """Works of the version that have no ending yet."""
        supervisor = self._supervisors.get(version)
        return len(supervisor.items) if supervisor else 0

    def limits(self) -> dict[str, int]:
        """How many works of each version that is known here it takes at most at once; UNMEASURED of
        others."""
        return {
            supervisor.spec.version: admissible(supervisor.batch_size, supervisor.pace)
            for supervisor in self._all()
        }

    def capacity(self, version: str) -> int:
        """How many more works of the version should be submitted now; the others are better kept for other
        workers."""
        supervisor = self._supervisors.get(version)
        if supervisor is None:
            return UNMEASURED
        return max(0, admissible(supervisor.batch_size, supervisor.pace) - len(supervisor.items))

    @property
    def fork_server_pid(self) -> int:
        """0 until it was started."""
        return self._client.pid

    @property
    def budget_bytes(self) -> int:
        return self._budget

    def stop(self, grace_seconds: float) -> None:
        """Takes nothing new, lets what runs end within the grace; the rest ends as Crashed. Then ends every
        process."""
        self._stopping.set()
        until = time.monotonic() + grace_seconds
        while time.monotonic() < until and any(supervisor.items for supervisor in self._all()):
            time.sleep(ROOM_POLL_SECONDS)
        for supervisor in self._all():
            supervisor.give_up("the worker is stopping")
        self._client.stop()
        if self._monitor.is_alive():
            self._monitor.join()

    def _all(self) -> list[ModelSupervisor]:
        with self._lock:
            return list(self._supervisors.values())

    def _supervisor(self, spec: ModelSpec) -> ModelSupervisor:
        with self._lock:
            supervisor = self._supervisors.get(spec.version)
            if supervisor is None:
                supervisor = self._supervisors[spec.version] = ModelSupervisor(spec, self._terms)
            supervisor.last_used = (
                time.monotonic()
            )  # whoever asked for it must not find it forgotten a moment later
            return supervisor

    def _wire_id(self, supervisor: ModelSupervisor, work_id: str) -> str:
        """The work's id, made unique should a former attempt of it still be here."""
        return work_id if work_id not in supervisor.items.open else f"{work_id}#{next(self._serial)}"

    def _watch(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            now = time.monotonic()
            for supervisor in self._all():
                try:
                    supervisor.tick(now)
                except Exception:  # one broken supervisor must not end the watch over the others
                    log.exception("watching over %s", supervisor.spec.version)
                self._forget(supervisor, now)

    def _forget(self, supervisor: ModelSupervisor, now: float) -> None:
        """Versions that are gone for long leave no trace."""
        with self._lock, supervisor.lock:
            unused = (
                supervisor.state == "absent"
                and not supervisor.items
                and now - supervisor.last_used > FORGET_SECONDS
            )
            if unused and now > supervisor.health.until:
                del self._supervisors[supervisor.spec.version]

    def _make_room(self, supervisor: ModelSupervisor) -> None:
        """Evicts what is least recently used until the model is likely to fit. One load decides at a time."""
        needed = supervisor.bytes or memory.expected_bytes(supervisor.spec.path)
        with self._room:
            try:
                self._wait_for_room(supervisor, needed)
                supervisor.bytes = needed
            finally:
                for other in self._all():
                    if other.held:
                        other.hold(False)

    def _wait_for_room(self, supervisor: ModelSupervisor, needed: int) -> None:
        began = time.monotonic()
        while not self._evict_for(supervisor, needed) and not self._stopping.is_set():
            waited = time.monotonic() - began
            if waited > ROOM_SECONDS:
                self._go_over(supervisor, needed)
                return
            if waited > HOLD_SECONDS:
                self._hold_for(supervisor)
            time.sleep(ROOM_POLL_SECONDS)

    def _hold_for(self, supervisor: ModelSupervisor) -> None:
        """One at a time; it is evicted when its last work has ended."""
        others = [
            other
            for other in self._all()
            if other is not supervisor and other.state == "ready" and not other.pinned
        ]
        if others and not any(other.held for other in others):
            min(others, key=lambda other: other.ready_at).hold(True)

    def _settle(self, supervisor: ModelSupervisor) -> None:
        """After a load, when its true size is known."""
        with self._room:
            self._evict_for(supervisor, supervisor.bytes)

    def _evict_for(self, supervisor: ModelSupervisor, needed: int) -> bool:
        """True when it fits, or when there is nobody whose going would help."""
        others = [other for other in self._all() if other is not supervisor]
        residents = [resident(other) for other in others if other.state in ("loading", "ready")]
        plan = model_cache.plan(residents, needed, self._budget)
        for version in plan.evict:
            log.info("evicting %s for %s", version, supervisor.spec.version)
            self._supervisors[version].evict(self._options.timeouts.evict)
        gone = set(plan.evict)
        return plan.fits or all(resident.pinned or resident.version in gone for resident in residents)

    def _go_over(self, supervisor: ModelSupervisor, needed: int) -> None:
        """The models in use stay. Over the budget is allowed as long as the memory is there."""
        if needed > self._options.free():
            raise ModelUnavailable(
                f"there is no room: it needs about {needed:,} bytes and all loaded models are in use"
            )
        log.warning(
            "loading %s over the budget of %d bytes: all others are in use",
            supervisor.spec.version,
            self._budget,
        )


def load_message(options: EngineOptions, spec: ModelSpec) -> dict[str, Any]:
    """The `load` message."""
    return {
        "spec": asdict(spec),
        "folders": list(options.runtime_folders),
        "memory_bytes": options.process_bytes,
        "curves": options.cost_folder,
    }


def resident(supervisor: ModelSupervisor) -> model_cache.Resident:
    return model_cache.Resident(
        supervisor.spec.version, supervisor.bytes, supervisor.last_used, supervisor.in_use, supervisor.pinned
    )


def admissible(batch_size: int, pace: float) -> int:
    """How many works of a version a worker holds at most, by the seconds that one takes (0: not known)."""
    in_time = int(ADMITTED_SECONDS / pace) if pace > 0 else 0
    return max(BATCHES_ADMITTED * batch_size, min(BATCHES_OF_QUICK * batch_size, in_time))


def state_of(supervisor: ModelSupervisor) -> str:
    """As in LoadedModel."""
    if supervisor.health.unhealthy:
        return "unhealthy"
    return "failed" if supervisor.health.until else supervisor.state


def describe(supervisor: ModelSupervisor) -> LoadedModel:
    """A snapshot; measures the process's memory."""
    supervisor.weigh()
    with supervisor.lock:
        now, link = time.monotonic(), supervisor.link
        health = supervisor.health
        return LoadedModel(
            version=supervisor.spec.version,
            model=supervisor.spec.model,
            state=state_of(supervisor),
            bytes=supervisor.bytes if link else 0,
            in_use=len(supervisor.items),
            load_seconds=supervisor.load_seconds,
            last_used=time.time() - (now - supervisor.last_used),
            idle=now - supervisor.last_used,
            pinned=supervisor.pinned,
            pid=link.pid if link else 0,
            batch_size=supervisor.batch_size,
            reason=health.reason,
            retry_in=max(0.0, health.until - now),
            pace=supervisor.pace,
            limit=admissible(supervisor.batch_size, supervisor.pace),
            facts=supervisor.facts,
        )


__all__: list[str] = ["DIFFUSERS", "TORCH", "Engine", "EngineOptions", "LoadedModel", "Timeouts"]
