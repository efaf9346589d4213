"""Users, for administrators: who is there, creating and deleting them, their rank, their credentials."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from starlette.responses import Response

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, Cursor, IdempotencyKey, Limit, ServicesDep, note
from app.api.problems import declared
from app.api.rest.credentials import SignOutIn
from app.api.rest.wire import PageOut, PriorityWord, left_out, page_out
from app.domain.priorities import Priority, from_word
from app.domain.users import User
from app.services.idempotency import IdempotentRequest
from app.services.people.administration import UserWithPassword

router = APIRouter(tags=["Accounts"], route_class=CheckedRoute)

MADE_UP = "Without one, a random one is made up and answered this once."


class UserOut(BaseModel):
    """A user as administrators see them. `disabled_at` is null for those who may sign in. `weight` is of the
    user's share of every worker, `highest_priority` the highest band that the user may ask for."""

    username: str
    email: str
    is_admin: bool
    created_at: datetime
    disabled_at: datetime | None
    weight: float
    highest_priority: PriorityWord

    @field_validator("highest_priority", mode="before")
    @classmethod
    def as_word(cls, value: Any) -> Any:
        return Priority(value).word if isinstance(value, int) else value

    @classmethod
    def from_user(cls, user: User) -> "UserOut":
        return cls.model_validate(user, from_attributes=True)


class UserWithPasswordOut(UserOut):
    """A user, with `password` if the server has made it up: it is shown this once."""

    password: str | None = left_out()

    @classmethod
    def from_change(cls, change: UserWithPassword) -> "UserWithPasswordOut":
        shown = UserOut.from_user(change.user).model_dump()
        return cls(**shown, password=change.password)


class UserIn(BaseModel):
    """A new user."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"email": "ada@example.com", "username": "ada", "is_admin": False}]},
    )

    email: str = Field(max_length=320, examples=["ada@example.com"])
    username: str = Field(
        max_length=64, description="Also the owner in the names of the user's models.", examples=["ada"]
    )
    password: str | None = Field(None, max_length=1_024, min_length=8, description=MADE_UP)
    is_admin: bool = Field(False, description="Whether the user is an administrator.")


class UserPatch(BaseModel):
    """What is to change."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"disabled": True}]})

    disabled: bool | None = Field(None, description="Whether the account's tokens and keys are refused.")
    is_admin: bool | None = Field(None, description="Whether the user is an administrator.")
    weight: float | None = Field(
        None, ge=0.01, le=100, description="Of the user's share of every worker, beside others who wait."
    )
    highest_priority: PriorityWord | None = Field(
        None, description="The highest `priority` that the user may ask for."
    )

    @model_validator(mode="after")
    def something_changes(self) -> "UserPatch":
        if all(value is None for value in self.__dict__.values()):
            raise ValueError("must change something: " + ", ".join(type(self).model_fields))
        return self


class PasswordResetIn(BaseModel):
    """The password from now on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"revoke_keys": True}]})

    password: str | None = Field(None, max_length=1_024, min_length=8, description=MADE_UP)
    revoke_keys: bool = Field(False, description="The user's API keys end, too.")


class UserCancelOut(BaseModel):
    """`canceled` predictions in this call. When not `is_done`, more wait: they are canceled in the next
    minutes, and need no other call."""

    canceled: int
    is_done: bool


@router.get("/v1/users", operation_id="users.list", summary="List users", responses=declared(401, 403, 422))
def list_users(
    request: Request, services: ServicesDep, caller: Caller, cursor: Cursor = None, limit: Limit = 100
) -> PageOut[UserOut]:
    """Everybody who has an account, newest first. Administrators only."""
    users = services.people.administration.page(caller, cursor=cursor, limit=limit)
    return page_out(request, users.map(UserOut.from_user))


@router.post(
    "/v1/users",
    operation_id="users.create",
    summary="Create a user",
    status_code=201,
    responses=declared(401, 403, 409, 410, 413, 415, 422),
)
def create_user(
    request: Request,
    services: ServicesDep,
    caller: Caller,
    body: UserIn,
    key: IdempotencyKey,
    response: Response,
) -> UserWithPasswordOut:
    """An account for somebody, whether registration is open or not. Administrators only."""
    content = [body.email.strip().lower(), body.username.lower(), body.is_admin]
    created = services.people.administration.create(
        caller,
        body.email,
        body.username,
        body.password,
        is_admin=body.is_admin,
        idempotent=IdempotentRequest.with_key("users.create", key, content),
    )
    if created.is_new:
        note(request, caller, "user.created", created.user.username, is_admin=created.user.is_admin)
    response.headers["Cache-Control"] = "no-store"
    return UserWithPasswordOut.from_change(created)


@router.patch(
    "/v1/users/{username}",
    operation_id="users.update",
    summary="Disable, enable, promote or demote a user, set their share",
    responses=declared(401, 403, 404, 409, 413, 415, 422),
)
def update_user(
    request: Request, services: ServicesDep, caller: Caller, username: str, body: UserPatch
) -> UserOut:
    """A disabled user's keys are answered 401 `account_disabled`, at once in this process and within
    PRINCIPAL_CACHE_SECONDS in others; tokens end for good. What waits is canceled, what runs goes on.
    Nothing of theirs is removed. The last administrator can be neither disabled nor demoted (409).
    Administrators only."""
    administration = services.people.administration
    if body.weight is not None or body.highest_priority is not None:
        highest = from_word(body.highest_priority) if body.highest_priority else None
        administration.set_share(caller, username, weight=body.weight, highest_priority=highest)
        changes = {"weight": body.weight, "highest_priority": body.highest_priority}
        note(
            request, caller, "user.share_set", username, **{k: v for k, v in changes.items() if v is not None}
        )
    user = administration.update(caller, username, disabled=body.disabled, is_admin=body.is_admin)
    if body.is_admin is not None:
        note(request, caller, "user.promoted" if body.is_admin else "user.demoted", user.username)
    if body.disabled is not None:
        note(request, caller, "user.disabled" if body.disabled else "user.enabled", user.username)
    return UserOut.from_user(user)


@router.put(
    "/v1/users/{username}/password",
    operation_id="users.password.reset",
    summary="Reset a user's password",
    responses=declared(401, 403, 404, 413, 415, 422),
)
def reset_password(
    request: Request,
    services: ServicesDep,
    caller: Caller,
    username: str,
    response: Response,
    body: PasswordResetIn | None = None,
) -> UserWithPasswordOut:
    """Another password for somebody who has lost theirs. Ends all their tokens. Administrators only."""
    reset = body or PasswordResetIn()
    change = services.people.administration.reset_password(
        caller, username, reset.password, revoke_keys=reset.revoke_keys
    )
    note(request, caller, "password.reset", username, revoke_keys=reset.revoke_keys)
    response.headers["Cache-Control"] = "no-store"
    return UserWithPasswordOut.from_change(change)


@router.post(
    "/v1/users/{username}/sign-out",
    operation_id="users.signout",
    summary="Sign a user out everywhere",
    status_code=204,
    responses=declared(401, 403, 404, 413, 415, 422),
)
def sign_out_user(
    request: Request, services: ServicesDep, caller: Caller, username: str, body: SignOutIn | None = None
) -> None:
    """Ends all tokens of a user; with `revoke_keys` the API keys, too. Administrators only."""
    revoke_keys = body is not None and body.revoke_keys
    services.people.administration.sign_out(caller, username, revoke_keys=revoke_keys)
    note(request, caller, "user.signed_out", username, revoke_keys=revoke_keys)


@router.post(
    "/v1/users/{username}/cancel",
    operation_id="users.cancel",
    summary="Cancel all of a user's predictions",
    responses=declared(401, 403, 404),
)
def cancel_of_user(request: Request, services: ServicesDep, caller: Caller, username: str) -> UserCancelOut:
    """Cancels all that a user has waiting and running by now; what runs stops at its next step.
    Administrators only."""
    result = services.bulk.of_users.cancel_all(caller, username)
    note(request, caller, "predictions.canceled", username, count=result.canceled)
    return UserCancelOut(canceled=result.canceled, is_done=result.is_done)


@router.delete(
    "/v1/users/{username}",
    operation_id="users.delete",
    summary="Delete a user",
    status_code=204,
    responses=declared(401, 403, 404, 409),
)
def delete_user(request: Request, services: ServicesDep, caller: Caller, username: str) -> None:
    """For good. At once: keys, tokens, deployments and models end (models under another name than the user's
    own become yours). Within seconds to minutes: what waits or runs is canceled, the data of all predictions
    and uploaded files are removed. The name is never given again. Administrators only, and neither yourself
    nor the last administrator (409)."""
    services.people.administration.delete(caller, username)
    note(request, caller, "user.deleted", username)
