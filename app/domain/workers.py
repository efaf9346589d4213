"""A worker as the platform keeps it: one incarnation of a process on one device."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from app.domain import queue_names


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWorker:
    """An incarnation that starts. `device` is `cpu` or `cuda:0`; `device_facts` are its name, memory and
    driver; `slots` is how many predictions it takes at once."""

    id: UUID
    host: str
    pid: int
    device: str
    device_class: str
    device_facts: dict[str, Any]
    queues: list[str]
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker(NewWorker):
    """What its last heartbeat said. `models` are the versions that it holds or cannot hold, each with its
    `state`; without `queues` it is stopping."""

    running: int
    models: list[dict[str, Any]] = field(default_factory=list)
    started_at: datetime
    seen_at: datetime

    @property
    def name(self) -> str:
        """As people call it, and its own queue."""
        return queue_names.pinned(self.device, self.host)

    @property
    def readable_queues(self) -> list[str]:
        """All that a worker of this device reads, unless it is drained."""
        return queue_names.queues_of(self.device, self.host)

    @property
    def is_draining(self) -> bool:
        """Whether it takes nothing new: it is stopping, or an operator wants it so."""
        return not self.queues

    @property
    def loaded_models(self) -> list[str]:
        """Names of the models that it has ready; its others are being loaded, or in trouble."""
        return sorted(model["model"] for model in self.models if model["state"] == "ready")


@dataclass(frozen=True, slots=True)
class ClassCount:
    """The live workers of one class of device, and the predictions that they take at once."""

    device_class: str
    workers: int
    slots: int
