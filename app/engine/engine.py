"""The engine: gives work items to loaded models, loads them on demand, evicts them for others, keeps
their time limits.

Thread-safe; called from a worker's threads. It knows model specs and work; it does not know where they come
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

from app.domain.work import Crashed, ModelSpec, Work
from app.engine import memory
from app.engine.deadlines import Timeouts
from app.engine.environments import Environments
from app.engine.fork_client import ForkServerClient
from app.engine.loaded_model import LoadedModel, describe, status_of
from app.engine.memory_budget import MemoryBudget
from app.engine.model_loader import ModelLoader
from app.engine.model_states import Absent, Ready
from app.engine.model_supervisor import ModelSupervisor
from app.engine.work_items import Handle, Sink, WorkItem
from app.observe import metrics

log = logging.getLogger(__name__)

_hits, _misses = metrics.CACHE.labels("hit"), metrics.CACHE.labels("miss")

TICK_SECONDS = 0.1
# How often a stopping engine looks whether everything has ended.
STOP_POLL_SECONDS = 0.05
FORGET_SECONDS = 600.0
ROOM_SECONDS = 1.0  # between looks at what others have reserved

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
    `runtime_folders`: searched for runtimes that are not built in. `cost_folder`: where measured cost models
    are kept ("": measured at every load). `environment_folder`: where the packages of folders with
    requirements lie ("": such folders are refused). `reserved`: the bytes that programs beside this worker
    have reserved where its models are loaded."""

    preload: tuple[str, ...] = ()
    budget_bytes: int = 0
    share: float = 0.5
    free: Callable[[], int] = memory.free_bytes
    threads: int = 1
    process_bytes: int = 0
    runtime_folders: tuple[str, ...] = ()
    cost_folder: str = ""
    environment_folder: str = ""
    reserved: Callable[[], int] | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)


class Engine:
    """`start` once, `stop` once."""

    def __init__(self, options: EngineOptions) -> None:
        self._client = ForkServerClient(options.preload, options.threads)
        self._timeouts = options.timeouts
        self._supervisors: dict[str, ModelSupervisor] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._serial = itertools.count(2)
        self._monitor = threading.Thread(target=self._supervise, name="engine-monitor", daemon=True)
        self._environments = Environments(options.environment_folder, self._client, options.threads)
        self._loader = ModelLoader(self._environments, partial(load_message, options), options.timeouts.setup)
        self._budget = MemoryBudget(
            options.budget_bytes or int(options.free() * options.share),
            options.free,
            options.timeouts.evict,
            self._all,
            self._stopping,
            options.reserved or (lambda: 0),
        )
        self._is_shared = options.reserved is not None

    def start(self) -> None:
        """Returns at once; the fork server imports its libraries meanwhile."""
        self._client.start()
        self._monitor.start()
        if self._is_shared:
            threading.Thread(target=self._make_room, name="engine-room", daemon=True).start()

    def submit_all(self, spec: ModelSpec, group: Sequence[tuple[Work, Sink]]) -> list[Handle]:
        """Several items of one version, each with the sink of its events, sent to the model at once.

        Never blocks for the model and never raises: whatever goes wrong is an item's ending event.
        """
        handles = [Handle(work.id, sink) for work, sink in group]
        if self._stopping.is_set():
            for handle in handles:
                handle.end(Crashed("the worker is stopping"))
            return handles
        supervisor = self._supervisor(spec)
        (_hits if isinstance(supervisor.state, Ready) else _misses).inc(len(group))
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
        return supervisor is not None and isinstance(supervisor.state, Ready)

    def load(self, spec: ModelSpec, *, pin: bool | None = None, anyway: bool = False) -> LoadedModel:
        """Returns when the model is ready; `pin` keeps it from being evicted or unloaded, as `pin` of its
        configuration does. `anyway`: although it backs off after deaths or failed loads. Raises
        ModelUnavailable."""
        supervisor = self._supervisor(spec)
        if pin is not None:
            supervisor.record.pinned = pin
        supervisor.load(spec, anyway=anyway)
        return describe(supervisor)

    def release(self, version: str, *, unload: bool = True) -> None:
        """Forgets the version's pin and, with `unload`, unloads it now, or when it has loaded and nothing of
        it runs or waits."""
        if supervisor := self._supervisors.get(version):
            supervisor.release(unload=unload)

    def models(self) -> list[LoadedModel]:
        """All versions that are loaded, loading or unhealthy; their memory as of some seconds ago."""
        models = [describe(supervisor) for supervisor in self._all()]
        return [model for model in models if model.state != Absent.name]

    def states(self) -> dict[str, str]:
        """The state of each of them, without measuring."""
        states = {supervisor.version: status_of(supervisor) for supervisor in self._all()}
        return {version: state for version, state in states.items() if state != Absent.name}

    def limits(self) -> dict[str, int]:
        """How many items of each version that is known here it takes at most at once; `capacity.UNMEASURED`
        of others."""
        return {supervisor.version: supervisor.record.limit for supervisor in self._all()}

    def pace(self, version: str) -> float:
        """The seconds of the device that one item of a version takes lately; 0: not known."""
        supervisor = self._supervisors.get(version)
        return supervisor.record.pace if supervisor else 0.0

    def folders(self) -> set[str]:
        """Those of the versions that are known here: what is loaded, and may be loaded again."""
        specs = [supervisor.record.spec for supervisor in self._all()]
        return {spec.path for spec in specs} | {spec.adapter for spec in specs if spec.adapter}

    @property
    def fork_server_pid(self) -> int:
        """0 until it was started."""
        return self._client.pid

    @property
    def budget_bytes(self) -> int:
        """For all loaded models together."""
        return self._budget.total_bytes

    def stop(self, grace_seconds: float) -> None:
        """Takes nothing new, lets what runs end within the grace; the rest ends as Crashed. Then ends every
        process."""
        self._stopping.set()
        until = time.monotonic() + grace_seconds
        while time.monotonic() < until and any(supervisor.record.work for supervisor in self._all()):
            time.sleep(STOP_POLL_SECONDS)
        for supervisor in self._all():
            supervisor.give_up("the worker is stopping")
        self._environments.stop()
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
                supervisor = ModelSupervisor(spec, self._loader, self._budget, self._timeouts)
                self._supervisors[spec.version] = supervisor
            # whoever asked for it must not find it forgotten a moment later
            supervisor.record.last_used = time.monotonic()
            return supervisor

    def _wire_id(self, supervisor: ModelSupervisor, work_id: str) -> str:
        """The work's id, made unique should a former attempt of it still be here."""
        return work_id if work_id not in supervisor.record.work.open else f"{work_id}#{next(self._serial)}"

    def _supervise(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            now = time.monotonic()
            for supervisor in self._all():
                try:
                    supervisor.tick(now)
                except Exception:  # one broken supervisor must not keep the others from being checked
                    log.exception("checking %s", supervisor.version)
                self._forget_unused(supervisor, now)

    def _make_room(self) -> None:
        """On a thread of its own: evicting takes time."""
        while not self._stopping.wait(ROOM_SECONDS):
            try:
                self._budget.make_room()
            except Exception:  # who has reserved waits for it
                log.exception("making room for what is reserved")

    def _forget_unused(self, supervisor: ModelSupervisor, now: float) -> None:
        """Versions that are gone for long leave no trace."""
        with self._lock, supervisor.lock:
            if supervisor.state.starts_load and supervisor.record.is_forgettable(now, FORGET_SECONDS):
                del self._supervisors[supervisor.version]


def load_message(options: EngineOptions, spec: ModelSpec) -> dict[str, Any]:
    """The `load` message."""
    return {
        "spec": asdict(spec),
        "runtime_folders": list(options.runtime_folders),
        "memory_bytes": options.process_bytes,
        "cost_folder": options.cost_folder,
    }
