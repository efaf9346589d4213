"""A version as the engine's callers see it."""

import time
from dataclasses import dataclass, field
from typing import Any

from app.engine import deadlines
from app.engine.capacity import DEFAULT_BATCH_SIZE, UNMEASURED
from app.engine.memory import pss
from app.engine.model_states import BackingOff, Loading, Ready
from app.engine.model_supervisor import ModelSupervisor

UNRESPONSIVE = "unresponsive"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A snapshot. `state` is loading, ready, unresponsive (its process gives no sign of life), failed (its
    last load did) or unhealthy (of these `reason` and `retry_in` seconds say more), or absent; `bytes` is the
    measured share of memory (PSS, or the weights on an accelerator), of one that loads what is reserved, of
    which it has `loaded_bytes` by now (0: not known); `in_use` counts the items that have no ending yet;
    `idle` in seconds; `last_used` in Unix time; `pace` is the seconds that one item took it lately;
    `last_batch` and `padding` are of the batch that ended last; `limit` how many it holds at most; `facts`
    what was chosen and measured at its load."""

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
    last_batch: int = 0
    padding: float = 0.0
    limit: int = UNMEASURED
    facts: dict[str, Any] = field(default_factory=dict)
    loaded_bytes: int = 0


def status_of(supervisor: ModelSupervisor) -> str:
    """As LoadedModel's `state`."""
    health = supervisor.record.health
    if health.unhealthy:
        return "unhealthy"
    if health.until:
        return BackingOff.name
    return UNRESPONSIVE if unresponsive_seconds(supervisor) else supervisor.state.name


def unresponsive_seconds(supervisor: ModelSupervisor) -> float:
    """Since when its process gives no sign of life; 0 when it does."""
    state = supervisor.state
    if isinstance(state, Ready) and state.silence > deadlines.UNRESPONSIVE_SECONDS:
        return state.silence
    return 0.0


def trouble_of(supervisor: ModelSupervisor, now: float) -> tuple[str, float]:
    """Why it is not well, and in how many seconds another process is tried."""
    if seconds := unresponsive_seconds(supervisor):
        reason = f"its process has given no sign of life for {seconds:.0f} s"
        return reason, max(0.0, supervisor.timeouts.silence - seconds)
    health = supervisor.record.health
    return health.reason, max(0.0, health.until - now)


def loaded_bytes(supervisor: ModelSupervisor) -> int:
    """How much memory a model that loads has by now; 0 when it has no process or none of its own memory."""
    state = supervisor.state
    if not isinstance(state, Loading) or state.link is None:
        return 0
    return pss(state.link.pid) if supervisor.record.spec.device.startswith("cpu") else 0


def describe(supervisor: ModelSupervisor) -> LoadedModel:
    """As it is now; its memory as of some seconds ago."""
    supervisor.state.measure(supervisor.record)
    loaded = loaded_bytes(supervisor)
    with supervisor.lock:
        now = time.monotonic()
        record, state = supervisor.record, supervisor.state
        ready = state if isinstance(state, Ready) else None
        reason, retry_in = trouble_of(supervisor, now)
        return LoadedModel(
            version=record.spec.version,
            model=record.spec.model,
            state=status_of(supervisor),
            bytes=state.bytes,
            in_use=len(record.work),
            load_seconds=ready.load_seconds if ready else 0.0,
            last_used=time.time() - (now - record.last_used),
            idle=now - record.last_used,
            pinned=record.pinned,
            pid=state.link.pid if state.link else 0,
            batch_size=record.batch_size,
            reason=reason,
            retry_in=retry_in,
            pace=record.pace,
            last_batch=record.last_batch,
            padding=record.padding,
            limit=record.limit,
            facts=ready.facts if ready else {},
            loaded_bytes=loaded,
        )
