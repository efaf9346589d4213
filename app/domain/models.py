"""A model as the platform keeps it: a name, who may see it, what is said of it. What runs is a version."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class NewModel:
    """A model to be made. `visibility` is public or private; `default_example` is a prediction's id."""

    id: UUID
    owner_id: UUID
    owner: str
    name: str
    visibility: str
    description: str | None = None
    readme: str | None = None
    github_url: str | None = None
    paper_url: str | None = None
    license_url: str | None = None
    cover_image_url: str | None = None
    default_example: str | None = None

    @property
    def full_name(self) -> str:
        """`owner/name`: how callers name it."""
        return f"{self.owner}/{self.name}"

    @property
    def is_public(self) -> bool:
        """Whether everybody may see it."""
        return self.visibility == "public"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model(NewModel):
    """A model; one that is deleted is kept, because predictions name it."""

    created_at: datetime
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ModelName:
    """As much of a model as a long list of names holds."""

    owner: str
    name: str
    created_at: datetime

    @property
    def full_name(self) -> str:
        """`owner/name`: how callers name it."""
        return f"{self.owner}/{self.name}"
