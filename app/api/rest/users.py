"""Users, for administrators: who is there, and disabling them."""

from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, Cursor, Limit, ServicesDep, note
from app.api.problems import declared
from app.api.rest.wire import PageOut, page_out
from app.domain.users import User

router = APIRouter(tags=["Accounts"], route_class=CheckedRoute)


class UserOut(BaseModel):
    """A user as administrators see them. `disabled_at` is null for those who may sign in."""

    username: str
    email: str
    is_admin: bool
    created_at: datetime
    disabled_at: datetime | None

    @classmethod
    def from_user(cls, user: User) -> "UserOut":
        return cls.model_validate(user, from_attributes=True)


class UserPatch(BaseModel):
    """What is to change."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"disabled": True}]})

    disabled: bool = Field(description="Whether the account's tokens and keys are refused.")


@router.get("/v1/users", operation_id="users.list", summary="List users", responses=declared(401, 403, 422))
def list_users(
    request: Request, services: ServicesDep, caller: Caller, cursor: Cursor = None, limit: Limit = 100
) -> PageOut[UserOut]:
    """Everybody who has an account, newest first. Administrators only."""
    users = services.accounts.users(caller, cursor=cursor, limit=limit)
    return page_out(request, users.map(UserOut.from_user))


@router.patch(
    "/v1/users/{username}",
    operation_id="users.update",
    summary="Disable or enable a user",
    responses=declared(401, 403, 404, 409, 413, 415, 422),
)
def update_user(
    request: Request, services: ServicesDep, caller: Caller, username: str, body: UserPatch
) -> UserOut:
    """A disabled user's tokens and keys are answered 401 `account_disabled`, at once in this process and
    within PRINCIPAL_CACHE_SECONDS in others. Their predictions go on; nothing of theirs is removed.
    Administrators only."""
    user = services.accounts.set_disabled(caller, username, body.disabled)
    note(request, caller, "user.disabled" if body.disabled else "user.enabled", user.username)
    return UserOut.from_user(user)
