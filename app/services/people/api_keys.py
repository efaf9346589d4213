"""API keys: made, listed and revoked by the people whose they are. Knows no HTTP. Calls block (SQL): use
threads."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

from app.db import keys
from app.db.session import Database
from app.domain.errors import Forbidden, NotFound, SecretShownOnce, wrong_field
from app.domain.users import ApiKey, NewApiKey
from app.services import idempotency
from app.services.idempotency import CreatedBefore, IdempotentRequest
from app.services.people.access import (
    SCOPES,
    SECRET_SCOPES,
    SHOWN_CHARACTERS,
    Access,
    Principal,
    digest,
    new_key,
)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key as its maker sees it, once: `secret` is the whole key."""

    key: ApiKey
    secret: str


class ApiKeys:
    """One for each API process."""

    def __init__(self, database: Database, access: Access) -> None:
        self._database, self._access = database, access

    def list_own(self, principal: Principal) -> list[ApiKey]:
        """The caller's keys, newest first. Raises Forbidden for a key that only predicts."""
        principal.need_any(*SECRET_SCOPES)
        with self._database.unit() as session:
            return keys.by_user(session, principal.need_user())

    def create(
        self,
        principal: Principal,
        name: str,
        scopes: Sequence[str],
        expires_at: datetime | None = None,
        idempotent: IdempotentRequest | None = None,
    ) -> IssuedKey:
        """A new key for the caller. A scoped key may not make keys: a leaked one would outlive its
        revocation.

        With `idempotent`, a repeated call raises SecretShownOnce: the key is there, and nobody can say its
        secret again.
        """
        principal.need_to_manage("Managing keys")
        if expires_at and expires_at <= datetime.now(UTC):
            raise wrong_field("expires_at", "must be in the future")
        if "admin" in scopes and not principal.is_operator:
            raise Forbidden("Only administrators can make keys with the scope 'admin'.")
        try:
            return self.issue(principal.need_user(), name, scopes, expires_at, idempotent)
        except CreatedBefore as before:
            raise SecretShownOnce(
                f"This Idempotency-Key has made the key {before.resource} already, whose secret was shown"
                " once and is not kept. Delete that key and make another."
            ) from None

    def issue(
        self,
        user_id: UUID,
        name: str,
        scopes: Sequence[str],
        expires_at: datetime | None = None,
        idempotent: IdempotentRequest | None = None,
    ) -> IssuedKey:
        """A new key for a user, whoever calls: for `create` and for the first start. Raises
        CreatedBefore."""
        secret = new_key()
        new = NewApiKey(
            id=uuid4(),
            user_id=user_id,
            name=name,
            prefix=secret[:SHOWN_CHARACTERS],
            hash=digest(secret),
            scopes=[scope for scope in SCOPES if scope in scopes],
            expires_at=expires_at,
        )
        with self._database.unit() as session:
            idempotency.record(session, user_id, idempotent, str(new.id))
            return IssuedKey(keys.add(session, new), secret)

    def revoke(self, principal: Principal, key_id: UUID) -> None:
        """Ends a key of the caller, at once in this process. Raises NotFound. A key may end itself."""
        if principal.key_id != key_id:
            principal.need_to_manage("Managing keys")
        with self._database.unit() as session:
            removed = keys.remove(session, principal.need_user(), key_id)
        self._access.forget_key(key_id)
        if not removed:
            raise NotFound("The requested key could not be found.")
