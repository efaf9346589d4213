"""An uploaded file as the platform keeps it; its bytes are in the storage."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """A file whose bytes are stored under `storage_key`. `size` is in bytes, the hashes are in hex; `details`
    are its owner's words about it. Without `expires_at` it is kept."""

    id: str
    user_id: UUID | None
    name: str
    content_type: str
    size: int
    sha256: str
    md5: str
    details: dict[str, Any] = field(default_factory=dict)
    storage_key: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile(NewFile):
    """A file that can be read."""

    created_at: datetime
