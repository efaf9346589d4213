"""What a version's model is just now: absent, loading, ready or backing off. Each state knows only what may
be done in it; `ModelSupervisor` holds one of them and replaces it.
"""

import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, ClassVar

from app.domain.errors import ModelUnavailable
from app.domain.work import Failed
from app.engine.capacity import DEFAULT_BATCH_SIZE
from app.engine.memory import pss
from app.engine.model_cache import Resident
from app.engine.model_link import ModelLink
from app.engine.open_work import OpenWork
from app.engine.retry_policy import PROBE_SECONDS, Health
from app.engine.version_record import VersionRecord
from app.engine.work_items import WorkItem

# Between two looks at a process lie 0.1 s; what is longer, this process has slept through.
LONGEST_STEP_SECONDS = 0.5
# A process's memory is looked at no more often: that takes the kernel 10 ms and more of a large one, and a
# worker that is idle now and then publishes its models every second.
MEASURE_SECONDS = 4.0


class ModelState:
    """What the supervisor asks of every state; the defaults are those of a model without a process. `name` is
    as in LoadedModel; `starts_load`: work that arrives begins a load; `link`: the process, if there is one;
    `bytes`: the memory that it has or has reserved."""

    name: ClassVar[str] = "absent"
    starts_load: ClassVar[bool] = True
    link: ModelLink | None = None
    bytes: int = 0

    def refusal(self, now: float) -> Failed | None:
        """The ending of work that arrives now; None when it may wait here."""
        return None

    def take_due(self, work: OpenWork) -> list[WorkItem]:
        """The items to be sent to the process now."""
        return []

    def is_probe_due(self, now: float, last_used: float) -> bool:
        """Whether a load should be tried without anybody asking, the version having been used at
        `last_used`."""
        return False

    def hold(self, held: bool) -> None:
        """While held, it only ends what it has begun, so that it falls idle and can be evicted."""

    def measure(self, record: VersionRecord) -> None:
        """How much memory it has. Not with a lock held: reading a large process's page tables takes
        milliseconds."""

    def resident(self, record: VersionRecord) -> Resident | None:
        """As the memory budget sees it; None when it neither has memory nor waits for it."""
        return None


class Absent(ModelState):
    """No process, and nothing that keeps one from being started."""


class BackingOff(ModelState):
    """Its process died or failed to load too often: new work is refused until `until` (monotonic seconds)."""

    name = "failed"

    def __init__(self, until: float, reason: str) -> None:
        self.until, self.reason = until, reason

    def refusal(self, now: float) -> Failed | None:
        if now >= self.until:
            return None
        seconds = self.until - now
        return Failed(
            f"the model is unavailable: {self.reason}; tried again in {seconds:.0f} s",
            code="model_unavailable",
        )

    def is_probe_due(self, now: float, last_used: float) -> bool:
        """One that nobody has asked for lately is not tried again by itself."""
        return self.until <= now < last_used + PROBE_SECONDS


class Loading(ModelState):
    """A thread brings its process up; `link` is there as soon as that is forked, `bytes` is what was
    reserved."""

    name = "loading"
    starts_load = False

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._outcome: Future[None] = Future()

    def resident(self, record: VersionRecord) -> Resident | None:
        version = record.spec.version
        return Resident(version, self.bytes, record.last_used, in_use=True, pinned=record.pinned)

    def wait(self, timeout: float) -> None:
        """Until it has loaded. Raises ModelUnavailable."""
        try:
            self._outcome.result(timeout)
        except TimeoutError:
            raise ModelUnavailable("the model was not ready in time") from None

    def succeed(self) -> None:
        """Whoever waits goes on."""
        self._outcome.set_result(None)

    def fail(self, reason: str) -> None:
        """Whoever waits gets ModelUnavailable."""
        self._outcome.set_exception(ModelUnavailable(reason))


class Ready(ModelState):
    """Its process runs what it is sent. `since` in monotonic seconds; `bytes` is what was measured last."""

    name = "ready"
    starts_load = False

    def __init__(self, loading: Loading, link: ModelLink, message: Mapping[str, Any], now: float) -> None:
        """`message`: what the process said of itself when it was ready."""
        self.link: ModelLink = link
        self.since = now
        self.load_seconds = now - loading.began
        self.batch_size = int(message.get("max_batch_size") or DEFAULT_BATCH_SIZE)
        self.facts: dict[str, Any] = dict(message.get("facts") or {})
        self._declared_bytes = int(message.get("bytes") or 0)
        self.bytes = self._declared_bytes or loading.bytes
        self._held = False
        self.interrupted = False
        self.silence = 0.0
        self._checked_at = now
        self._alive_at = link.last_alive_at
        self._measured_at = float("-inf")

    def check_silence(self, now: float) -> float:
        """For how many seconds the process has given no sign of life. Called a few times a second.

        Only time in which this process itself was awake counts: after a laptop's sleep nobody is dead.
        """
        step = min(now - self._checked_at, LONGEST_STEP_SECONDS)
        is_alive = self.link.last_alive_at != self._alive_at
        self.silence = 0.0 if is_alive else self.silence + step
        self._checked_at, self._alive_at = now, self.link.last_alive_at
        return self.silence

    def expect_kill(self) -> None:
        """Its process is to be killed because of one item's time limit; the others are not to blame."""
        self.interrupted = self.link.expected = True

    def take_due(self, work: OpenWork) -> list[WorkItem]:
        return [] if self._held else work.take_due()

    def is_in_use(self, work: OpenWork) -> bool:
        """Whether it must not be evicted now."""
        return bool(work.in_flight if self._held else work)

    def hold(self, held: bool) -> None:
        self._held = held

    def measure(self, record: VersionRecord) -> None:
        """On an accelerator the bytes it holds there, else the process's own share of memory, as of some
        seconds ago."""
        now, own = time.monotonic(), not self._declared_bytes or record.spec.device.startswith("cpu")
        if own and now - self._measured_at >= MEASURE_SECONDS:
            self.bytes = max(pss(self.link.pid), self._declared_bytes)
            self._measured_at = now
        record.bytes = self.bytes

    def resident(self, record: VersionRecord) -> Resident | None:
        return Resident(
            record.spec.version,
            self.bytes,
            record.last_used,
            in_use=self.is_in_use(record.work),
            pinned=record.pinned,
            ready_at=self.since,
            held=self._held,
        )


def without_process(health: Health, now: float) -> Absent | BackingOff:
    """The state of a version whose process is gone or did not come up."""
    return BackingOff(health.until, health.reason) if health.blocked(now) else Absent()
