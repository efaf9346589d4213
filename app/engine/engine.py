"""The engine: gives works to loaded models, loads them on demand, evicts them for room, watches over their time limits.

Thread-safe; called from a worker's threads. It knows model specs and works; it does not know where they come from,
nor where their events go.
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
from app.engine.fork_client import ForkServerClient
from app.engine.handle import Handle, Ticket
from app.engine.host import DEFAULT_BATCH_SIZE, Host, Terms
from app.engine.model_link import ModelLink
from app.engine.watch import Times

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1
# A worker admits two batches' worth of a version: one runs, one waits. Of a quick one more, up to what runs in so many
# seconds: batches are cut from what waits, and a larger choice means less padding (windows of 128 lose 15 %, 512 5 %).
BATCHES_ADMITTED, BATCHES_OF_QUICK = 2, LOOK_AHEAD
ADMITTED_SECONDS = 2.0
UNMEASURED = BATCHES_ADMITTED * DEFAULT_BATCH_SIZE
# Importing torch, transformers and diffusers took 12 s on a busy machine.
FORK_SECONDS = 120.0
# How long a load waits for models in use to become idle before it goes ahead over the budget, or is refused.
ROOM_SECONDS, ROOM_POLL_SECONDS = 10.0, 0.05
# After so long the model that has been loaded for longest gets nothing new, so that traffic cannot keep others out.
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
    """`preload`: what the fork server imports (`module` or `module:attribute`; TORCH and DIFFUSERS are good choices).
    `budget_bytes` for all loaded models (0: `share` of the memory that is free at start). `free`: the bytes that are free
    now where models are loaded. `threads`: for the environment of every model process; the same number as the specs'.
    `process_bytes`: most private memory of one process (0: no limit). `runtime_folders`: searched for runtimes that are
    not built in. `curve_folder`: where measured cost curves are kept ("": measured at every load)."""

    preload: tuple[str, ...] = ()
    budget_bytes: int = 0
    share: float = 0.5
    free: Callable[[], int] = memory.free_bytes
    threads: int = 1
    process_bytes: int = 0
    runtime_folders: tuple[str, ...] = ()
    curve_folder: str = ""
    times: Times = field(default_factory=Times)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A version as the engine sees it. `state` is loading, ready, failed (its last load did) or unhealthy (then `reason`
    and `retry_in` seconds say more), or absent; `bytes` is the measured share of memory (PSS, or the weights on an
    accelerator); `idle` in seconds; `last_used` in Unix time; `pace` is the seconds that one work took it lately;
    `limit` how many it holds at most; `facts` what was chosen and measured at its load."""

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
        self._hosts: dict[str, Host] = {}
        self._lock = threading.Lock()
        self._room = threading.Lock()
        self._stopping = threading.Event()
        self._serial = itertools.count(2)
        self._monitor = threading.Thread(target=self._watch, name="engine-monitor", daemon=True)
        self._terms = Terms(
            open_link=lambda host: ModelLink(self._client, host, FORK_SECONDS),
            make_room=self._make_room,
            settle=self._settle,
            order=partial(order_of, options),
            learn=self._client.preload,
            times=options.times,
        )

    def start(self) -> None:
        """Returns at once; the fork server imports its libraries meanwhile."""
        self._client.start()
        self._monitor.start()

    def submit(self, spec: ModelSpec, work: Work) -> Handle:
        """Never blocks for the model and never raises: whatever goes wrong is the handle's ending event."""
        return self.submit_all(spec, [(work, None)])[0]

    def submit_all(self, spec: ModelSpec, group: Sequence[tuple[Work, Callable[[Event], None] | None]]) -> list[Handle]:
        """Several works of one version, each with the sink of its events (see Handle), sent to the model at once."""
        handles = [Handle(work.id, sink) for work, sink in group]
        if self._stopping.is_set():
            for handle in handles:
                handle.put(Crashed("the worker is stopping"))
            return handles
        host = self._host(spec)
        tickets = [Ticket(work, self._wire_id(host, work.id), handle) for (work, _), handle in zip(group, handles, strict=True)]
        for ticket in tickets:
            ticket.handle.on_cancel(partial(host.cancel, ticket))
        host.submit(spec, tickets)
        return handles

    def is_ready(self, version: str) -> bool:
        """Whether the version is loaded."""
        host = self._hosts.get(version)
        return host is not None and host.state == "ready"

    def load(self, spec: ModelSpec, *, pin: bool | None = None, anyway: bool = False) -> LoadedModel:
        """Returns when the model is ready; `pin` keeps it from being evicted or unloaded, as `pin` of its configuration does.
        `anyway`: although it backs off after deaths or failed loads. Raises ModelUnavailable."""
        host = self._host(spec)
        if pin is not None:
            host.pinned = pin
        host.load(spec, self._options.times.setup + FORK_SECONDS, anyway=anyway)
        return describe(host)

    def unload(self, version: str) -> bool:
        """Ends the version's process and forgets its pin; False when it is in use, loading or not there."""
        host = self._hosts.get(version)
        if host is None or not host.evict(self._options.times.evict):
            return False
        host.pinned = False
        return True

    def release(self, version: str) -> None:
        """Forgets the version's pin and unloads it now, or when it has loaded and nothing of it runs or waits."""
        if host := self._hosts.get(version):
            host.pinned, host.leaving = False, True
            host.tick(time.monotonic())

    def models(self) -> list[LoadedModel]:
        """All versions that are loaded, loading or unhealthy; memory is measured now."""
        described = [describe(host) for host in self._all()]
        return [model for model in described if model.state != "absent"]

    def states(self) -> dict[str, str]:
        """The state of each of them, without measuring."""
        found = {host.spec.version: state_of(host) for host in self._all()}
        return {version: state for version, state in found.items() if state != "absent"}

    def admitted(self, version: str) -> int:
        """Works of the version that have no ending yet."""
        host = self._hosts.get(version)
        return len(host.tickets) if host else 0

    def limits(self) -> dict[str, int]:
        """How many works of each version that is known here it takes at most at once; UNMEASURED of others."""
        return {host.spec.version: admissible(host.batch_size, host.pace) for host in self._all()}

    def room(self, version: str) -> int:
        """How many more works of the version should be submitted now; the others are better kept for other workers."""
        host = self._hosts.get(version)
        if host is None:
            return UNMEASURED
        return max(0, admissible(host.batch_size, host.pace) - len(host.tickets))

    @property
    def fork_server_pid(self) -> int:
        """0 until it was started."""
        return self._client.pid

    @property
    def budget_bytes(self) -> int:
        return self._budget

    def stop(self, grace_seconds: float) -> None:
        """Takes nothing new, lets what runs end within the grace; the rest ends as Crashed. Then ends every process."""
        self._stopping.set()
        until = time.monotonic() + grace_seconds
        while time.monotonic() < until and any(host.tickets for host in self._all()):
            time.sleep(ROOM_POLL_SECONDS)
        for host in self._all():
            host.give_up("the worker is stopping")
        self._client.stop()
        if self._monitor.is_alive():
            self._monitor.join()

    def _all(self) -> list[Host]:
        with self._lock:
            return list(self._hosts.values())

    def _host(self, spec: ModelSpec) -> Host:
        with self._lock:
            host = self._hosts.get(spec.version)
            if host is None:
                host = self._hosts[spec.version] = Host(spec, self._terms)
            host.last_used = time.monotonic()  # whoever asked for it must not find it forgotten a moment later
            return host

    def _wire_id(self, host: Host, work_id: str) -> str:
        """The work's id, made unique should a former attempt of it still be here."""
        return work_id if work_id not in host.tickets.open else f"{work_id}#{next(self._serial)}"

    def _watch(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            now = time.monotonic()
            for host in self._all():
                try:
                    host.tick(now)
                except Exception:
                    log.exception("watching over %s", host.spec.version)
                self._forget(host, now)

    def _forget(self, host: Host, now: float) -> None:
        """Versions that are gone for long leave no trace."""
        with self._lock, host.lock:
            unused = host.state == "absent" and not host.tickets and now - host.last_used > FORGET_SECONDS
            if unused and now > host.health.until:
                del self._hosts[host.spec.version]

    def _make_room(self, host: Host) -> None:
        """Evicts what is least recently used until the model is likely to fit. One load decides at a time."""
        needed = host.bytes or memory.expected_bytes(host.spec.path)
        with self._room:
            try:
                self._wait_for_room(host, needed)
                host.bytes = needed
            finally:
                for other in self._all():
                    if other.held:
                        other.hold(False)

    def _wait_for_room(self, host: Host, needed: int) -> None:
        began = time.monotonic()
        while not self._evict_for(host, needed) and not self._stopping.is_set():
            waited = time.monotonic() - began
            if waited > ROOM_SECONDS:
                self._go_over(host, needed)
                return
            if waited > HOLD_SECONDS:
                self._hold_for(host)
            time.sleep(ROOM_POLL_SECONDS)

    def _hold_for(self, host: Host) -> None:
        """One at a time; it is evicted when its last work has ended."""
        others = [other for other in self._all() if other is not host and other.state == "ready" and not other.pinned]
        if others and not any(other.held for other in others):
            min(others, key=lambda other: other.ready_at).hold(True)

    def _settle(self, host: Host) -> None:
        """After a load, when its true size is known."""
        with self._room:
            self._evict_for(host, host.bytes)

    def _evict_for(self, host: Host, needed: int) -> bool:
        """True when it fits, or when there is nobody whose going would help."""
        others = [other for other in self._all() if other is not host]
        residents = [resident(other) for other in others if other.state in ("loading", "ready")]
        plan = model_cache.plan(residents, needed, self._budget)
        for version in plan.evict:
            log.info("evicting %s for %s", version, host.spec.version)
            self._hosts[version].evict(self._options.times.evict)
        gone = set(plan.evict)
        return plan.fits or all(resident.pinned or resident.version in gone for resident in residents)

    def _go_over(self, host: Host, needed: int) -> None:
        """The models in use stay. Over the budget is allowed as long as the memory is there."""
        if needed > self._options.free():
            raise ModelUnavailable(f"there is no room: it needs about {needed:,} bytes and all loaded models are in use")
        log.warning("loading %s over the budget of %d bytes: all others are in use", host.spec.version, self._budget)


def order_of(options: EngineOptions, spec: ModelSpec) -> dict[str, Any]:
    """The `load` message."""
    return {
        "spec": asdict(spec),
        "folders": list(options.runtime_folders),
        "memory_bytes": options.process_bytes,
        "curves": options.curve_folder,
    }


def resident(host: Host) -> model_cache.Resident:
    return model_cache.Resident(host.spec.version, host.bytes, host.last_used, host.in_use, host.pinned)


def admissible(batch_size: int, pace: float) -> int:
    """How many works of a version a worker holds at most, by the seconds that one takes (0: not known)."""
    in_time = int(ADMITTED_SECONDS / pace) if pace > 0 else 0
    return max(BATCHES_ADMITTED * batch_size, min(BATCHES_OF_QUICK * batch_size, in_time))


def state_of(host: Host) -> str:
    """As in LoadedModel."""
    if host.health.unhealthy:
        return "unhealthy"
    return "failed" if host.health.until else host.state


def describe(host: Host) -> LoadedModel:
    """A snapshot; measures the process's memory."""
    host.weigh()
    with host.lock:
        now, link = time.monotonic(), host.link
        health = host.health
        return LoadedModel(
            version=host.spec.version,
            model=host.spec.model,
            state=state_of(host),
            bytes=host.bytes if link else 0,
            in_use=len(host.tickets),
            load_seconds=host.load_seconds,
            last_used=time.time() - (now - host.last_used),
            idle=now - host.last_used,
            pinned=host.pinned,
            pid=link.pid if link else 0,
            batch_size=host.batch_size,
            reason=health.reason,
            retry_in=max(0.0, health.until - now),
            pace=host.pace,
            limit=admissible(host.batch_size, host.pace),
            facts=host.facts,
        )


__all__: list[str] = ["DIFFUSERS", "TORCH", "Engine", "EngineOptions", "LoadedModel", "Times"]
