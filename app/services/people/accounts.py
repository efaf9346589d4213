"""People's accounts: registering, signing in, who one is. Knows no HTTP.

Calls block (SQL, and hashing on purpose): use threads.
"""

import re
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from app.db import users
from app.db.session import Database
from app.domain.errors import AccountDisabled, Conflict, Forbidden, NotFound, Unauthenticated, wrong_field
from app.domain.storable import text_fault
from app.domain.users import NewUser, User
from app.domain.versions import is_name
from app.outbound.webhook_signing import new_secret
from app.services import idempotency
from app.services.idempotency import CreatedBefore, IdempotentRequest
from app.services.people import passwords
from app.services.people.access import Principal
from app.services.people.login_tries import LoginTries
from app.services.people.tokens import TokenSigner

RESERVED = {"anonymous", "admin", "api", "lovage", "models", "search", "system"}
EMAIL = re.compile(r"[^@\s\x00]{1,64}@[^@\s\x00]{1,255}\Z")


class Accounts:
    """One for each API process."""

    def __init__(
        self,
        database: Database,
        signer: TokenSigner,
        tries: LoginTries,
        *,
        allow_registration: bool,
    ) -> None:
        self._database, self._signer = database, signer
        self._tries = tries
        self._allow_registration = allow_registration

    def register(
        self, email: str, username: str, password: str, address: str, key: str | None = None
    ) -> tuple[User, bool]:
        """A new account for anybody, and whether it is new: the same idempotency key and request give the
        account of before. `address`: the caller's.

        Raises Forbidden when registration is switched off, InvalidRequest, Conflict, TooMany.
        """
        if not self._allow_registration:
            raise Forbidden("Registration is closed on this server. Ask its administrator for an account.")
        # The address says whose key it is; the password is compared with the account's, so that no quick hash
        # of it is kept.
        content = [email.strip().lower(), username.lower()]
        idempotent = IdempotentRequest.with_key("auth.register", key, content)
        try:
            return self.create(email, username, password, idempotent=idempotent), True
        except Conflict:
            email = email.strip().lower()
            before = self._registered(email, password, address, idempotent) if idempotent else None
            if before is None:
                raise
            return before, False

    def _registered(
        self, email: str, password: str, address: str, idempotent: IdempotentRequest
    ) -> User | None:
        """The account of this address, if the key has made it. Wrong passwords count like those at
        signing in."""
        with self._database.unit() as session:
            user = users.by_login(session, email)
            try:
                if user:
                    idempotency.check_unused(session, user.id, idempotent)
                return None
            except CreatedBefore:
                assert user is not None
        self._tries.count(account_name(user), address)
        if not passwords.matches(password, user.password_hash):
            raise idempotency.other_request()
        self._tries.succeeded(account_name(user), address)
        return user

    def create(
        self,
        email: str,
        username: str,
        password: str,
        *,
        is_admin: bool = False,
        idempotent: IdempotentRequest | None = None,
        by: UUID | None = None,
    ) -> User:
        """A new account, whatever the settings say: for `register`, for administrators and for the first
        start. The idempotency key is that of the user `by`, else the new one's. Raises InvalidRequest,
        Conflict, CreatedBefore."""
        email, username = email.strip().lower(), username.lower()
        _check_account(email, username, password)
        if username in RESERVED and not is_admin:
            raise Conflict("username: is reserved.")
        new = NewUser(
            email=email,
            username=username,
            password_hash=passwords.hashed(password),
            is_admin=is_admin,
            webhook_secret=new_secret(),
        )
        try:
            with self._database.unit() as session:
                if by:
                    idempotency.check_unused(session, by, idempotent)
                if not is_admin and users.owns_name(session, username):
                    raise Conflict("username: is taken.")
                user = users.add(session, new)
                idempotency.record(session, by or user.id, idempotent, str(user.id))
        except IntegrityError as error:
            field = "email" if "email" in str(error.orig) else "username"
            raise Conflict(f"{field}: is taken.") from None
        return user

    def sign_in(self, login: str, password: str, address: str) -> tuple[str, int]:
        """An access token and its lifetime in seconds. `address`: the caller's.

        Raises Unauthenticated (the same for unknown users and wrong passwords), AccountDisabled, TooMany.
        """
        with self._database.unit() as session:
            user = None if text_fault(login) else users.by_login(session, login)
        # An account has one count, by whichever of its names it is called.
        name = account_name(user) if user else f"login {login.lower()[:320]}"
        self._tries.count(name, address)
        if not passwords.matches(password, user.password_hash if user else None) or user is None:
            raise Unauthenticated("Incorrect username or password.")
        self._tries.succeeded(name, address)
        if user.disabled_at is not None:
            raise AccountDisabled
        return self._signer.issue(user.id, user.token_epoch), int(self._signer.lifetime_seconds)

    def user(self, principal: Principal) -> User:
        """The caller's own account."""
        with self._database.unit() as session:
            user = users.by_id(session, principal.need_user())
        if user is None:
            raise NotFound("This account no longer exists.")
        return user


def account_name(user: User) -> str:
    """Under which its wrong passwords are counted."""
    return f"account {user.id}"


def _check_account(email: str, username: str, password: str) -> None:
    if not EMAIL.match(email):
        raise wrong_field("email", "must be an email address", "format")
    if not is_name(username):
        raise wrong_field(
            "username", "must be 1 to 64 letters, digits, dots, dashes or underscores", "format"
        )
    passwords.check_new(password)
