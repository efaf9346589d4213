"""Keeps the loaded models within a budget of bytes: evicts, holds back, waits, or goes over it, as
`model_cache` decides. Knows models by what it asks of them (`CachedModel`), no process.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from app.domain.errors import ModelUnavailable
from app.engine.model_cache import Resident, Step, Then, next_step, plan_eviction
from app.observe import metrics

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05


class Loading(Protocol):
    """A load under way; `bytes`: what is reserved for it."""

    bytes: int


class CachedModel(Protocol):
    """A version that may be in memory."""

    @property
    def version(self) -> str: ...

    def resident(self) -> Resident | None:
        """None while it holds no memory."""

    def hold(self, held: bool) -> None:
        """While held, nothing new is sent to it, so that it falls idle."""

    def evict(self, grace: float) -> bool:
        """False when it is in use or has no process."""


class MemoryBudget:
    """Thread-safe; one load decides at a time. `most_bytes`: for all models (0: no budget); `free`: the
    bytes that are free now where models live; `evict_seconds`: given to a process to end by itself;
    `reserved`: the bytes of the budget that are promised to others now."""

    def __init__(
        self,
        most_bytes: int,
        free: Callable[[], int],
        evict_seconds: float,
        models: Callable[[], Sequence[CachedModel]],
        stopping: threading.Event,
        reserved: Callable[[], int] = lambda: 0,
    ) -> None:
        self._most_bytes, self._reserved = most_bytes, reserved
        self._free, self._evict_seconds = free, evict_seconds
        self._models, self._stopping = models, stopping
        self._deciding = threading.Lock()

    @property
    def total_bytes(self) -> int:
        """For all models together now; 0: no budget."""
        return max(1, self._most_bytes - self._reserved()) if self._most_bytes else 0

    def make_room(self) -> None:
        """Evicts what is idle and over the budget, which others may have made smaller."""
        if self._reserved():
            self.fit("", 0)

    def reserve(self, version: str, needed: int, loading: Loading) -> None:
        """Evicts what is least recently used until the version is likely to fit. Blocks. Raises
        ModelUnavailable."""
        with self._deciding:
            try:
                self._wait_for_memory(version, needed)
                loading.bytes = needed
            finally:
                self._release_held()

    def fit(self, version: str, size: int) -> None:
        """After a load, when its true size is known: evicts what is idle."""
        with self._deciding:
            plan = plan_eviction(self._residents(version), size, self.total_bytes)
            self._evict(version, plan.evict)

    def _wait_for_memory(self, version: str, needed: int) -> None:
        began = time.monotonic()
        while not self._stopping.is_set():
            waited = time.monotonic() - began
            step = next_step(self._residents(version), needed, self.total_bytes, waited)
            self._evict(version, step.evict)
            if step.then is Then.GO_OVER_BUDGET:
                self._go_over(version, needed)
            if step.then is not Then.WAIT:
                return
            self._hold(step)
            time.sleep(POLL_SECONDS)

    def _residents(self, version: str) -> list[Resident]:
        """All but the one that needs the memory."""
        residents = (model.resident() for model in self._models() if model.version != version)
        return [resident for resident in residents if resident]

    def _evict(self, version: str, evicted: Sequence[str]) -> None:
        by_version = {model.version: model for model in self._models()}
        for name in evicted:
            log.info("evicting %s for %s", name, version)
            by_version[name].evict(self._evict_seconds)
            metrics.EVICTIONS.inc()

    def _hold(self, step: Step) -> None:
        for model in self._models():
            if model.version == step.hold:
                model.hold(True)

    def _release_held(self) -> None:
        for model in self._models():
            if (resident := model.resident()) and resident.held:
                model.hold(False)

    def _go_over(self, version: str, needed: int) -> None:
        """The models in use stay. Over the budget is allowed as long as the memory is there."""
        if needed > self._free():
            raise ModelUnavailable(
                f"there is no room: it needs about {needed:,} bytes and all loaded models are in use"
            )
        log.warning(
            "loading %s over the budget of %d bytes: all others are in use", version, self.total_bytes
        )
