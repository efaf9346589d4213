"""An entry of the audit log: who did what to what, and whence."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAuditEntry:
    """An entry to be written. `action` is `login.ok`, `key.created` and so on; `username` as it was sent,
    `user_id` when the user is known. Holds no secrets."""

    action: str
    username: str
    target: str
    address: str
    request_id: str
    user_id: UUID | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry(NewAuditEntry):
    """An entry as it was written; later ones have higher ids."""

    id: int
    at: datetime
