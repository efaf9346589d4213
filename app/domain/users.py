"""People's accounts and their API keys. An object named New… is what is written, the other what was read."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """An account to be made. `email` is in lower case, `webhook_secret` is `whsec_` and standard base64."""

    email: str
    username: str
    password_hash: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    is_admin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class User(NewUser):
    """An account. A disabled one keeps everything and may do nothing; of a deleted one only the name is left,
    so that nobody else gets it."""

    id: UUID
    created_at: datetime
    disabled_at: datetime | None = None
    deleted_at: datetime | None = None
    # Tokens carry the epoch in which they were issued: those of another one are refused.
    token_epoch: int = 0
    # After a rotation both secrets sign webhooks until then.
    previous_webhook_secret: str | None = field(default=None, repr=False)
    previous_webhook_secret_until: datetime | None = None
    # Of a user's share of every worker (app/domain/fair_shares.py), and the highest band to ask for
    # (app/domain/priorities.py).
    weight: float = 1.0
    highest_priority: int = 1
    # Signs links to uploaded files, and nothing else.
    file_key: str = field(repr=False)

    def older_secret(self, now: datetime) -> str | None:
        """The webhook secret before the last rotation, while it still signs."""
        until = self.previous_webhook_secret_until
        return self.previous_webhook_secret if until and until > now else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApiKey:
    """A key to be made. `prefix` is how it begins, so that a person knows which one it is; `hash` is the
    SHA-256 of the whole key, which itself is stored nowhere."""

    id: UUID
    user_id: UUID
    name: str
    prefix: str
    hash: bytes = field(repr=False)
    scopes: list[str]
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey(NewApiKey):
    """A key; `last_used_at` is right to the minute."""

    created_at: datetime
    last_used_at: datetime | None = None
