"""People's accounts: register, sign in, disable. Knows no HTTP.

Calls block (SQL, and hashing on purpose): use threads.
"""

import re

from sqlalchemy.exc import IntegrityError

from app.db import users
from app.db.session import Database
from app.domain.errors import (
    AccountDisabled,
    Conflict,
    Forbidden,
    NotFound,
    Unauthenticated,
    wrong_field,
)
from app.domain.pages import Page
from app.domain.storable import text_fault
from app.domain.users import NewUser, User
from app.domain.versions import is_name
from app.outbound.webhook_signing import new_secret
from app.services import idempotency
from app.services.idempotency import CreatedBefore, IdempotentRequest
from app.services.people import passwords
from app.services.people.access import Access, Principal
from app.services.people.rate_limits import Tries
from app.services.people.tokens import TokenSigner

RESERVED = {"anonymous", "admin", "api", "lovage", "models", "search", "system"}
EMAIL = re.compile(r"[^@\s\x00]{1,64}@[^@\s\x00]{1,255}\Z")


class Accounts:
    """One for each API process."""

    def __init__(
        self,
        database: Database,
        signer: TokenSigner,
        access: Access,
        tries: Tries,
        *,
        allow_registration: bool,
    ) -> None:
        self._database, self._signer = database, signer
        self._access, self._tries = access, tries
        self._allow_registration = allow_registration

    def register(self, email: str, username: str, password: str, key: str | None = None) -> tuple[User, bool]:
        """A new account for anybody, and whether it is new: the same idempotency key and request give the
        account of before.

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
            before = self._registered(email.strip().lower(), password, idempotent) if idempotent else None
            if before is None:
                raise
            return before, False

    def _registered(self, email: str, password: str, idempotent: IdempotentRequest) -> User | None:
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
        names = (f"account {user.id}",)
        self._tries.count(names)
        if not passwords.matches(password, user.password_hash):
            raise idempotency.other_request()
        self._tries.uncount(names)
        return user

    def create(
        self,
        email: str,
        username: str,
        password: str,
        *,
        is_admin: bool = False,
        idempotent: IdempotentRequest | None = None,
    ) -> User:
        """A new account, whatever the settings say: for `register` and for the first start. Raises
        InvalidRequest, Conflict."""
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
                if not is_admin and users.owns_name(session, username):
                    raise Conflict("username: is taken.")
                user = users.add(session, new)
                idempotency.record(session, user.id, idempotent, str(user.id))
        except IntegrityError as error:
            field = "email" if "email" in str(error.orig) else "username"
            raise Conflict(f"{field}: is taken.") from None
        return user

    def sign_in(self, login: str, password: str, peer: str) -> tuple[str, int]:
        """An access token and its lifetime in seconds. `peer`: the caller's address, by which
        wrong passwords are limited, too.

        Raises Unauthenticated (the same for unknown users and wrong passwords), AccountDisabled, TooMany.
        """
        with self._database.unit() as session:
            user = None if text_fault(login) else users.by_login(session, login)
        # An account has one count, by whichever of its names it is called.
        names = (f"account {user.id}" if user else f"login {login.lower()[:320]}", f"peer {peer}")
        self._tries.count(names)
        if not passwords.matches(password, user.password_hash if user else None) or user is None:
            raise Unauthenticated("Incorrect username or password.")
        self._tries.uncount(names)
        if user.disabled_at is not None:
            raise AccountDisabled
        return self._signer.issue(user.id), int(self._signer.lifetime_seconds)

    def users(self, principal: Principal, *, cursor: str | None, limit: int) -> Page[User]:
        """Everybody, newest first. Raises Forbidden for anybody but an administrator."""
        need_operator(principal)
        with self._database.unit() as session:
            return users.list_all(session, cursor=cursor, limit=limit)

    def set_disabled(self, principal: Principal, username: str, disabled: bool) -> User:
        """Disables or enables a user: their tokens and keys end, or work again, at once in this process.

        Raises Forbidden for anybody but an administrator, NotFound, Conflict for the administrator's own
        account.
        """
        need_operator(principal)
        if disabled and username == principal.username:
            raise Conflict("You cannot disable your own account: nobody might be left to enable it.")
        with self._database.unit() as session:
            user = users.set_disabled(session, username, disabled) if is_name(username) else None
        if user is None:
            raise NotFound("The requested user could not be found.")
        self._access.forget_user(user.id)
        return user

    def user(self, principal: Principal) -> User:
        """The caller's own account."""
        with self._database.unit() as session:
            user = users.by_id(session, principal.need_user())
        if user is None:
            raise NotFound("This account no longer exists.")
        return user


def need_operator(principal: Principal) -> None:
    """Raises Forbidden unless the caller is an administrator with the scope admin."""
    if not principal.is_operator:
        raise Forbidden("Only administrators can manage users.")


def _check_account(email: str, username: str, password: str) -> None:
    if not EMAIL.match(email):
        raise wrong_field("email", "must be an email address", "format")
    if not is_name(username):
        raise wrong_field(
            "username", "must be 1 to 64 letters, digits, dots, dashes or underscores", "format"
        )
    if not passwords.SHORTEST <= len(password) <= passwords.LONGEST:
        raise wrong_field(
            "password", f"must have {passwords.SHORTEST} to {passwords.LONGEST} characters", "length"
        )
    if "\x00" in password:
        raise wrong_field("password", "must not contain the NUL character", "format")
