"""A deployment: its owner's name for one version of a model and the class of device to run it on."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDeployment:
    """A deployment to be made, with its first release. `hardware` is a class of device, or any; instances are
    on record only. `released_by` is a username."""

    id: UUID
    owner_id: UUID
    owner: str
    name: str
    model: str
    version_id: str
    hardware: str
    min_instances: int
    max_instances: int
    released_by: str

    @property
    def full_name(self) -> str:
        """`owner/name`: how callers name it."""
        return f"{self.owner}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment(NewDeployment):
    """Its current release; every change is one, and `number` counts them."""

    number: int
    created_at: datetime
    released_at: datetime
    deleted_at: datetime | None = None
