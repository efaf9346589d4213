"""A creation that happens once: the same Idempotency-Key and request give what was made the first time. Knows
no HTTP.

The key is written in the transaction that makes the resource, so that neither is there without the other: a
crash leaves no key that is stuck, and a second request with the key waits in Postgres until the first has
committed. What is kept is the resource's id: an answer is made anew from the resource, and a secret that was
shown once is nowhere. Predictions keep their keys in their own rows (services/predictions/submit.py).
"""

import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.orm import Session

from app.db import idempotency as table
from app.domain.errors import FieldError, InvalidRequest, Unavailable

KEEP_HOURS = 24
HEADER = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request that is to have its effect once. `content` is what it says, as JSON; keys count for each
    operation apart."""

    operation: str
    key: str
    content: Any

    @classmethod
    def with_key(cls, operation: str, key: str | None, content: Any) -> "IdempotentRequest | None":
        """None for a caller that sent no key."""
        return cls(operation, key, content) if key is not None else None

    def fingerprint(self) -> bytes:
        """SHA-256: the same key with another request is refused by it."""
        return hashlib.sha256(orjson.dumps(self.content, option=orjson.OPT_SORT_KEYS)).digest()


class CreatedBefore(Exception):
    """The key has made `resource` (an id) already. Not an error: it ends the transaction that would have made
    another."""

    def __init__(self, resource: str) -> None:
        super().__init__(resource)
        self.resource = resource


def other_request() -> InvalidRequest:
    """The key belongs to another request."""
    sentence = "was used before with a different request"
    return InvalidRequest(f"{HEADER} {sentence}.", (FieldError(HEADER, "value", sentence),))


def check_unused(session: Session, user_id: UUID, request: IdempotentRequest | None) -> None:
    """Raises CreatedBefore when the key has made something, InvalidRequest when that was for another
    request."""
    use = table.by_key(session, user_id, request.operation, request.key) if request else None
    if request is None or use is None:
        return
    request_hash, resource = use
    if request_hash != request.fingerprint():
        raise other_request()
    raise CreatedBefore(resource)


def record(session: Session, user_id: UUID, request: IdempotentRequest | None, resource: str) -> None:
    """Writes down that the key makes `resource`, to be made in this very transaction. Raises like
    `check_unused`."""
    if request is None:
        return
    values = {"user_id": user_id, "operation": request.operation, "key": request.key}
    if table.put(session, {**values, "request_hash": request.fingerprint(), "resource": resource}):
        return
    check_unused(session, user_id, request)
    # The insert met the key, and the sweep has removed it since.
    raise Unavailable(f"This {HEADER} was forgotten just now. Try again.", retry_after=1)
