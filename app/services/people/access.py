"""Who is calling, and what the caller may do. Knows no HTTP: it gets the credential's text and answers a
Principal.

A credential that was just checked is trusted for a moment (PRINCIPAL_CACHE_SECONDS), so that a busy client
costs no query a request; revoking a key is known in this process at once and in the others after that moment.
"""

import asyncio
import hashlib
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from app.coalesce import Coalescer
from app.db import keys, users
from app.db.session import Database
from app.domain.errors import AccountDisabled, Forbidden, LovageError, Unauthenticated
from app.domain.priorities import Priority, from_word
from app.domain.users import ApiKey, User
from app.services.people.tokens import TokenSigner

NO_USER = "The requested user could not be found."
KEY_PREFIX = "lov_"
KEY_BYTES = 32
SHOWN_CHARACTERS = 12  # of a key, in lists
SCOPES = ("predict", "models", "admin")
SECRET_SCOPES = ("models", "admin")  # one is needed to read a secret: keys for predictions lie everywhere
CACHED = 10_000  # credentials remembered; when full, all are forgotten
LONGEST_CREDENTIAL = 4_096  # characters; our tokens have about 250


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller. `user_id` is None for anonymous callers, `key_id` is None for those with a token from a
    password."""

    user_id: UUID | None
    username: str
    scopes: frozenset[str]
    is_admin: bool = False
    key_id: UUID | None = None
    highest_priority: Priority = Priority.DEFAULT

    def allowed_priority(self, word: str) -> Priority:
        """The band of this name. Raises Forbidden when it is above the caller's highest."""
        priority = from_word(word)
        if priority < self.highest_priority:
            highest = self.highest_priority.word
            raise Forbidden(
                f"Your account may not ask for the priority '{word}': its highest is '{highest}'."
            )
        return priority

    def need(self, scope: str) -> None:
        """Raises Forbidden, naming the scope, unless the caller has it."""
        if scope not in self.scopes:
            raise Forbidden(f"This needs the scope '{scope}', which your credential does not have.")

    def need_any(self, *scopes: str) -> None:
        """Raises Forbidden, naming the scopes, unless the caller has one of them."""
        if self.scopes.isdisjoint(scopes):
            names = " or ".join(f"'{scope}'" for scope in scopes)
            raise Forbidden(f"This needs the scope {names}, which your credential does not have.")

    def need_operator(self, to: str) -> None:
        """Raises Forbidden unless the caller is an administrator with the scope admin; `to` says for what."""
        if not self.is_operator:
            raise Forbidden(f"Only administrators can {to}.")

    def need_to_manage(self, what: str) -> None:
        """Raises Forbidden unless the caller signed in with a password or has a key with the scope admin:
        whoever finds a lesser key must not become able to do more, or for longer. `what` begins the
        sentence."""
        if self.key_id is not None and "admin" not in self.scopes:
            raise Forbidden(
                f"{what} needs a token from POST /v1/auth/token, or a key with the scope 'admin'."
            )

    def need_user(self) -> UUID:
        """The caller's user id. Raises Unauthenticated for anonymous callers."""
        if self.user_id is None:
            raise Unauthenticated("This needs an account: send 'Authorization: Bearer <token>'.")
        return self.user_id

    def owns(self, user_id: UUID | None) -> bool:
        """Whether something of this user (None: of an anonymous caller) is the caller's own."""
        return user_id == self.user_id

    @property
    def is_operator(self) -> bool:
        """An administrator whose credential carries the admin scope."""
        return self.is_admin and "admin" in self.scopes


ANONYMOUS = Principal(None, "anonymous", frozenset({"predict"}))
DISABLED = Principal(None, "", frozenset())  # stands for any account that is disabled; no caller gets it


def new_key() -> str:
    """A fresh API key: a prefix that scanners of leaked secrets can find, and 256 random bits."""
    return KEY_PREFIX + secrets.token_hex(KEY_BYTES)


def digest(credential: str) -> bytes:
    """What is stored of a key. Plain SHA-256 is enough: a key is random, so no list of likely ones helps."""
    return hashlib.sha256(credential.encode("utf-8", "surrogateescape")).digest()


def scopes_of(user: User) -> frozenset[str]:
    """All that a user may do: what a token from a password may."""
    return frozenset(SCOPES) if user.is_admin else frozenset(SCOPES) - {"admin"}


@dataclass(frozen=True, slots=True)
class _CachedPrincipal:
    principal: Principal
    until: float


class Access:
    """One for each API process; called on its event loop, `forget_…` from any thread."""

    def __init__(
        self,
        database: Database,
        signer: TokenSigner,
        threads: Executor,
        *,
        cache_seconds: float,
        allow_anonymous: bool,
    ) -> None:
        self._database, self._signer = database, signer
        self._threads = threads
        self._seconds, self._allow_anonymous = cache_seconds, allow_anonymous
        self._cache: dict[bytes, _CachedPrincipal] = {}
        self._lock = threading.Lock()  # a revocation comes from a thread, at any moment
        self._revocations = 0  # a look-up that began before a revocation must not be remembered after it
        self._look_up: Coalescer[str, Principal | None] = Coalescer(self._look_up_group, lanes=2)
        self._touches: set[asyncio.Future[None]] = set()

    async def principal(self, authorization: str | None) -> Principal:
        """The caller behind an `Authorization` header's value. Raises Unauthenticated."""
        if authorization is None:
            if self._allow_anonymous:
                return ANONYMOUS
            raise Unauthenticated(
                "You did not pass an authentication token: send 'Authorization: Bearer <token>'."
            )
        scheme, _, credential = authorization.partition(" ")
        credential = credential.strip()
        if (
            scheme.lower() not in ("bearer", "token")
            or not credential
            or len(credential) > LONGEST_CREDENTIAL
        ):
            raise Unauthenticated("The Authorization header must be 'Bearer <token>'.")
        return await self._principal_of(credential)

    async def user(self, username: str) -> Principal | None:
        """Somebody whom another part vouches for, by a client certificate for one; administers nothing. None:
        there is no such user. Raises AccountDisabled."""
        # The name is longer than a digest, so that no credential is ever remembered under it.
        return await self._remembered(b"user " + digest(username), lambda: self._look_up_user(username))

    async def _look_up_user(self, username: str) -> Principal | None:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read_user, username)

    def _read_user(self, username: str) -> Principal | None:
        with self._database.unit() as session:
            user = users.by_username(session, username)
        if user is None:
            return None
        return DISABLED if user.disabled_at else _principal(user, frozenset(SCOPES) - {"admin"})

    async def _principal_of(self, credential: str) -> Principal:
        principal = await self._remembered(digest(credential), lambda: self._look_up(credential))
        if principal is None:
            raise Unauthenticated("You did not pass a valid authentication token.")
        return principal

    async def _remembered(
        self, name: bytes, look_up: Callable[[], Awaitable[Principal | None]]
    ) -> Principal | None:
        """Raises AccountDisabled."""
        cached = self._cache.get(name)
        if cached and cached.until > time.monotonic():
            return cached.principal
        revocations = self._revocations
        principal = await look_up()
        if principal is DISABLED:
            raise AccountDisabled
        with self._lock:
            if principal and revocations == self._revocations:
                self._remember(name, principal)
        return principal

    def _remember(self, name: bytes, principal: Principal) -> None:
        if len(self._cache) >= CACHED:
            self._cache.clear()
        self._cache[name] = _CachedPrincipal(principal, time.monotonic() + self._seconds)

    async def _look_up_group(self, credentials: list[str]) -> Sequence[Principal | None]:
        loop = asyncio.get_running_loop()
        principals = await loop.run_in_executor(self._threads, self._read, credentials)
        used = [principal.key_id for principal in principals if principal and principal.key_id]
        if used:  # beside the request, which does not wait for it
            touch = loop.run_in_executor(self._threads, self._touch, used)
            self._touches.add(touch)
            touch.add_done_callback(self._touches.discard)
        return principals

    def _read(self, credentials: list[str]) -> list[Principal | None]:
        hashes = {text: digest(text) for text in credentials if text.startswith(KEY_PREFIX)}
        with self._database.unit() as session:
            pairs = keys.by_hashes(session, list(hashes.values())) if hashes else {}
            by_token = {text: self._by_token(session, text) for text in credentials if text not in hashes}
        by_key = {text: _by_key(*pairs[hashed]) for text, hashed in hashes.items() if hashed in pairs}
        return [by_key.get(text) or by_token.get(text) for text in credentials]

    def _by_token(self, session: Session, credential: str) -> Principal | None:
        claims = self._signer.verify(credential)
        user = users.by_id(session, claims.user_id) if claims else None
        if user is None or claims is None:
            return None
        if user.disabled_at is not None:
            return DISABLED
        if claims.epoch != user.token_epoch:  # signed out, or the password is another one now
            return None
        return _principal(user, scopes_of(user))

    def _touch(self, ids: list[UUID]) -> None:
        try:
            with self._database.unit() as session:
                keys.touch(session, ids)
        except LovageError:
            return  # a missing last-used time is no reason to fail anything

    def forget_key(self, key_id: UUID) -> None:
        """A key was revoked: it is not trusted any more from now on."""
        self._forget(lambda principal: principal.key_id == key_id)

    def forget_user(self, user_id: UUID) -> None:
        """A user's rights or tokens have changed: none of their credentials is trusted unseen any more."""
        self._forget(lambda principal: principal.user_id == user_id)

    def _forget(self, is_revoked: Callable[[Principal], bool]) -> None:
        with self._lock:
            self._revocations += 1
            self._cache = {
                name: cached for name, cached in self._cache.items() if not is_revoked(cached.principal)
            }

    async def close(self) -> None:
        """Waits for look-ups under way, and for what is written of the keys' use."""
        await self._look_up.close()
        await asyncio.gather(*self._touches, return_exceptions=True)


def _by_key(key: ApiKey, user: User) -> Principal:
    if user.disabled_at is not None:
        return DISABLED
    return _principal(user, frozenset(key.scopes) & scopes_of(user), key.id)


def _principal(user: User, scopes: frozenset[str], key_id: UUID | None = None) -> Principal:
    highest = Priority.INTERACTIVE if user.is_admin else Priority(user.highest_priority)
    return Principal(user.id, user.username, scopes, user.is_admin, key_id, highest)
