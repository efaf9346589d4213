"""What an account's owner may change of its own credentials: the password, the tokens, the secrets that sign
webhooks and links to files. Knows no HTTP. Calls block (SQL, hashing on purpose): use threads.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from app.db import keys, users
from app.db.session import Database
from app.domain.errors import Conflict, NotFound, wrong_field
from app.domain.users import User
from app.outbound.webhook_signing import new_secret
from app.services.people import passwords
from app.services.people.access import SECRET_SCOPES, Access, Principal
from app.services.people.accounts import account_name
from app.services.people.login_tries import LoginTries
from app.services.people.tokens import TokenSigner

OVERLAP_HOURS = 24  # for which the webhook secret before a rotation goes on signing
FILE_KEY_PREFIX, FILE_KEY_BYTES = "lfk_", 32


@dataclass(frozen=True, slots=True)
class WebhookSecrets:
    """`previous` signs, too, until `previous_until`; None: only `current` signs."""

    current: str = field(repr=False)
    previous: str | None = field(repr=False)
    previous_until: datetime | None


class Credentials:
    """One for each API process."""

    def __init__(self, database: Database, signer: TokenSigner, access: Access, tries: LoginTries) -> None:
        self._database, self._signer = database, signer
        self._access, self._tries = access, tries

    def change_password(self, principal: Principal, current: str, new: str, address: str) -> tuple[str, int]:
        """Sets another password and ends all tokens; answers a new one and its lifetime in seconds. API keys
        stay. `address`: the caller's.

        Raises Forbidden for a key, InvalidRequest naming the field, TooMany: wrong passwords count like those
        at signing in.
        """
        principal.need_to_manage("Changing the password")
        passwords.check_new(new, "new_password")
        user = self._own(principal)
        self._tries.count(account_name(user), address)
        if not passwords.matches(current, user.password_hash):
            raise wrong_field("current_password", "is not the password of this account")
        self._tries.succeeded(account_name(user), address)
        hashed = passwords.hashed(new)
        changed = self._change(user, lambda session: users.set_password(session, user.id, hashed))
        return self._signer.issue(user.id, changed.token_epoch), int(self._signer.lifetime_seconds)

    def sign_out(self, principal: Principal, *, revoke_keys: bool) -> None:
        """Ends all tokens that were issued until now, and with `revoke_keys` all API keys. Raises Forbidden
        for a key."""
        principal.need_to_manage("Signing out everywhere")
        user = self._own(principal)
        self._change(user, lambda session: end_credentials(session, user, revoke_keys=revoke_keys))

    def webhook_secrets(self, principal: Principal) -> WebhookSecrets:
        """The secrets that sign the caller's webhooks. Raises Forbidden for a key that only predicts."""
        principal.need_any(*SECRET_SCOPES)
        return _webhook_secrets(self._own(principal))

    def rotate_webhook_secret(
        self, principal: Principal, overlap_hours: float = OVERLAP_HOURS
    ) -> WebhookSecrets:
        """A new secret for webhooks; the one until now signs beside it for `overlap_hours`. Raises Forbidden
        for a key, and Conflict while an earlier one still signs, which would end: with 0 hours only the new
        one is left, whatever was before.
        """
        principal.need_to_manage("Rotating the webhook secret")
        user, now = self._own(principal), datetime.now(UTC)
        if overlap_hours and user.older_secret(now):
            until = user.previous_webhook_secret_until
            raise Conflict(
                f"The secret before this one signs webhooks until {until:%Y-%m-%d %H:%M} UTC, and no more"
                " than two can. Rotate again after that, or with overlap_hours 0, which ends both at once."
            )
        values = {
            "webhook_secret": new_secret(),
            "previous_webhook_secret": user.webhook_secret if overlap_hours else None,
            "previous_webhook_secret_until": now + timedelta(hours=overlap_hours) if overlap_hours else None,
        }
        return _webhook_secrets(self._change(user, lambda session: users.change(session, user.id, values)))

    def file_key(self, principal: Principal) -> str:
        """What signs links to the caller's files. Raises Forbidden for a key that only predicts."""
        principal.need_any(*SECRET_SCOPES)
        return self._own(principal).file_key

    def rotate_file_key(self, principal: Principal) -> str:
        """A new key for links to files; all links that exist end at once. Raises Forbidden for a key."""
        principal.need_to_manage("Rotating the key for links to files")
        user = self._own(principal)
        values = {"file_key": FILE_KEY_PREFIX + secrets.token_hex(FILE_KEY_BYTES)}
        return self._change(user, lambda session: users.change(session, user.id, values)).file_key

    def _own(self, principal: Principal) -> User:
        with self._database.unit() as session:
            user = users.by_id(session, principal.need_user())
        if user is None:
            raise NotFound("This account no longer exists.")
        return user

    def _change(self, user: User, operation: Callable[[Session], User | None]) -> User:
        """Runs it in a transaction; from then on no credential is trusted unseen."""
        with self._database.unit() as session:
            changed = operation(session)
        if changed is None:
            raise NotFound("This account no longer exists.")
        self._access.forget_user(user.id)
        return changed


def end_credentials(session: Session, user: User, *, revoke_keys: bool) -> User | None:
    """Ends a user's tokens, and with `revoke_keys` the keys."""
    if revoke_keys:
        keys.remove_all(session, user.id)
    return users.end_tokens(session, user.id)


def _webhook_secrets(user: User) -> WebhookSecrets:
    older = user.older_secret(datetime.now(UTC))
    return WebhookSecrets(user.webhook_secret, older, user.previous_webhook_secret_until if older else None)
