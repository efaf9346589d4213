"""What administrators do with other people's accounts: list, create, promote, disable, reset, delete. Knows
no HTTP. Calls block (SQL, hashing on purpose): use threads.

There is always an administrator who is not disabled: whoever would change that is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.orm import Session

from app.db import deployments, keys, models, users
from app.db import idempotency as idempotency_keys
from app.db.session import Database
from app.domain.errors import Conflict, Gone, NotFound, SecretShownOnce
from app.domain.pages import Page
from app.domain.priorities import Priority
from app.domain.users import User
from app.domain.versions import is_name
from app.services.idempotency import CreatedBefore, IdempotentRequest
from app.services.people import passwords
from app.services.people.access import NO_USER, Access, Principal
from app.services.people.accounts import Accounts
from app.services.people.credentials import end_credentials


@dataclass(frozen=True, slots=True)
class UserWithPassword:
    """`password`: one that the server has made up, to be shown this once; None: the administrator chose it.
    Not `is_new`: a repeated request."""

    user: User
    password: str | None = field(repr=False)
    is_new: bool = True


class UserAdministration:
    """One for each API process. Every method raises Forbidden for anybody but an administrator. `on_change`
    is called after what may revoke a right to run something, `on_disabled` with the id of a user who was
    disabled."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        access: Access,
        on_change: Callable[[], None] = lambda: None,
        on_disabled: Callable[[UUID], object] | None = None,
    ) -> None:
        self._database, self._accounts = database, accounts
        self._access, self._on_change = access, on_change
        self._on_disabled = on_disabled

    def page(self, principal: Principal, *, cursor: str | None, limit: int) -> Page[User]:
        """Everybody, newest first."""
        principal.need_operator("manage users")
        with self._database.unit() as session:
            return users.list_all(session, cursor=cursor, limit=limit)

    def create(
        self,
        principal: Principal,
        email: str,
        username: str,
        password: str | None,
        *,
        is_admin: bool = False,
        idempotent: IdempotentRequest | None = None,
    ) -> UserWithPassword:
        """A new account; without a password one is made up. Raises InvalidRequest, Conflict.

        With `idempotent`, a repeated call gives the account that exists already; SecretShownOnce when its
        password was made up.
        """
        principal.need_operator("manage users")
        chosen = password or passwords.new_password()
        try:
            user = self._accounts.create(
                email, username, chosen, is_admin=is_admin, idempotent=idempotent, by=principal.need_user()
            )
        except CreatedBefore as before:
            return UserWithPassword(self._created_before(before.resource, password), None, is_new=False)
        return UserWithPassword(user, None if password else chosen)

    def _created_before(self, user_id: str, password: str | None) -> User:
        with self._database.unit() as session:
            user = users.by_id(session, UUID(user_id))
        if user is None:
            raise Gone("The user that this Idempotency-Key has made is deleted.")
        if password is None:
            raise SecretShownOnce(
                f"This Idempotency-Key has made the user {user.username} already, whose password was shown"
                " once and is not kept. Reset it."
            )
        return user

    def update(
        self,
        principal: Principal,
        username: str,
        *,
        disabled: bool | None = None,
        is_admin: bool | None = None,
    ) -> User:
        """Disables or enables a user, promotes or demotes one; None: stays as it is.

        A disabled user's keys end, or work again, at once in this process; tokens end for good, and what
        waits is canceled. The scopes of keys follow the rank.

        Raises NotFound, Conflict for disabling oneself and for the last administrator.
        """
        principal.need_operator("manage users")
        if disabled and username == principal.username:
            raise Conflict("You cannot disable your own account: nobody might be left to enable it.")

        def change(session: Session, user: User) -> User | None:
            if is_admin is not None:
                users.set_admin(session, user.id, is_admin)
            return user if disabled is None else users.set_disabled(session, user, disabled)

        removes_admin = disabled is True or is_admin is False
        user = self._change(username, change, removes_admin=removes_admin)
        if disabled and self._on_disabled:
            self._on_disabled(user.id)
        return self._existing(user.id)

    def set_share(
        self,
        principal: Principal,
        username: str,
        *,
        weight: float | None = None,
        highest_priority: Priority | None = None,
    ) -> User:
        """How much of every worker a user is given beside others, and the highest band that the user may ask
        for; None: stays as it is. Workers know within a heartbeat. Raises NotFound."""
        principal.need_operator("manage users")
        values = {"weight": weight, "highest_priority": highest_priority}
        changes = {name: value for name, value in values.items() if value is not None}
        return self._change(username, lambda session, user: users.change(session, user.id, changes))

    def reset_password(
        self, principal: Principal, username: str, password: str | None, *, revoke_keys: bool
    ) -> UserWithPassword:
        """Another password for a user who has lost theirs, made up unless one is given; all tokens end, with
        `revoke_keys` the API keys, too. Raises NotFound, InvalidRequest."""
        principal.need_operator("manage users")
        if password is not None:
            passwords.check_new(password)
        chosen = password or passwords.new_password()
        hashed = passwords.hashed(chosen)

        def change(session: Session, user: User) -> User | None:
            end_credentials(session, user, revoke_keys=revoke_keys)
            return users.set_password(session, user.id, hashed)

        return UserWithPassword(self._change(username, change), None if password else chosen)

    def sign_out(self, principal: Principal, username: str, *, revoke_keys: bool) -> User:
        """Ends all tokens of a user, with `revoke_keys` the API keys, too. Raises NotFound."""
        principal.need_operator("manage users")

        def change(session: Session, user: User) -> User | None:
            return end_credentials(session, user, revoke_keys=revoke_keys)

        return self._change(username, change)

    def delete(self, principal: Principal, username: str) -> User:
        """Deletes a user for good. Raises NotFound, Conflict for one's own account and for the last
        administrator.

        At once: keys, tokens, idempotency keys, deployments and models (those under another name than the
        user's own go to the administrator). Soon, by the sweeps: predictions that have not ended are
        canceled, the data of all is removed, and uploaded files. What stays: the name, which nobody else
        gets, predictions without their data, and the audit log.
        """
        principal.need_operator("manage users")
        if username == principal.username:
            raise Conflict("You cannot delete your own account: another administrator can.")
        heir = principal.need_user()

        def change(session: Session, user: User) -> User | None:
            keys.remove_all(session, user.id)
            idempotency_keys.remove_all(session, user.id)
            deployments.remove_all(session, user.id)
            models.remove_all(session, user.id, user.username, heir)
            users.mark_deleted(session, user)
            return user

        deleted = self._change(username, change, removes_admin=True)
        self._on_change()
        return deleted

    def _existing(self, user_id: UUID) -> User:
        with self._database.unit() as session:
            user = users.by_id(session, user_id)
        if user is None:
            raise NotFound(NO_USER)
        return user

    def _change(
        self,
        username: str,
        operation: Callable[[Session, User], User | None],
        *,
        removes_admin: bool = False,
    ) -> User:
        with self._database.unit() as session:
            administrators = users.lock_administrators(session) if removes_admin else []
            user = users.by_username(session, username) if is_name(username) else None
            if user and administrators == [user.id]:
                raise Conflict(f"{username} is the last administrator. Promote somebody else first.")
            changed = operation(session, user) if user else None
        if changed is None:
            raise NotFound(NO_USER)
        self._access.forget_user(changed.id)
        return changed
