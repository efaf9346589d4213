"""Accounts: register, sign in, who am I, API keys. What signs and lets in is in credentials.py."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.responses import Response

from app.api.bodies import CheckedRoute
from app.api.deps import (
    Caller,
    IdempotencyKey,
    ServicesDep,
    address_of,
    as_utc,
    limited_by_address,
    limited_registrations,
    note,
    origin_of,
)
from app.api.problems import declared
from app.domain.errors import NotFound, TooMany, Unauthenticated
from app.domain.users import ApiKey
from app.services.idempotency import IdempotentRequest

router = APIRouter(tags=["Accounts"], route_class=CheckedRoute)

Scope = Literal["predict", "models", "admin"]


SIGN_IN: dict[str, Any] = {
    "security": [],
    "requestBody": {
        "content": {
            "application/x-www-form-urlencoded": {
                "example": {"grant_type": "password", "username": "ada", "password": "correct horse battery"}
            }
        }
    },
}


class RegisterIn(BaseModel):
    """A new account."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"email": "ada@example.com", "username": "ada", "password": "correct horse battery"}]
        },
    )

    email: str = Field(max_length=320, examples=["ada@example.com"])
    username: str = Field(
        max_length=64, description="Also the owner in the names of your models.", examples=["ada"]
    )
    password: str = Field(max_length=1_024, min_length=8, examples=["correct horse battery"])


class AccountOut(BaseModel):
    """An account, as Replicate's clients read it, and what it may do."""

    type: Literal["user"] = "user"
    username: str
    name: str
    email: str
    is_admin: bool
    scopes: list[str]


class TokenOut(BaseModel):
    """An access token for `Authorization: Bearer …`; `expires_in` in seconds."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105
    expires_in: int


class KeyIn(BaseModel):
    """A new API key."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "laptop", "scopes": ["predict"]}]}
    )

    name: str = Field(min_length=1, max_length=100, examples=["laptop"])
    scopes: list[Scope] = Field(default=["predict"], min_length=1, max_length=3)
    expires_at: datetime | None = Field(None, description="Without one the key works until it is deleted.")

    @field_validator("expires_at")
    @classmethod
    def in_utc(cls, value: datetime | None) -> datetime | None:
        return value and as_utc(value)


class KeyOut(BaseModel):
    """A key without its secret; `prefix` is how it begins."""

    id: UUID
    name: str
    prefix: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None

    @classmethod
    def from_key(cls, key: ApiKey) -> "KeyOut":
        return cls.model_validate(key, from_attributes=True)


class NewKeyOut(KeyOut):
    """A key that was just made: `key` is the secret, shown this once."""

    key: str


class KeysOut(BaseModel):
    """All keys of an account; there are never enough for pages."""

    previous: None = None
    next: None = None
    results: list[KeyOut]


@router.post(
    "/v1/auth/register",
    operation_id="auth.register",
    summary="Create an account",
    status_code=201,
    responses=declared(403, 409, 413, 415, 422, 429),
    openapi_extra={"security": []},
    dependencies=[Depends(limited_registrations)],
)
def register(request: Request, services: ServicesDep, body: RegisterIn, key: IdempotencyKey) -> AccountOut:
    """An account of your own, where ALLOW_REGISTRATION lets anybody have one; else ask an administrator.
    RATE_LIMIT_REGISTRATIONS bounds what one address may try."""
    address = address_of(request)
    user, is_new = services.people.accounts.register(body.email, body.username, body.password, address, key)
    if is_new:
        services.people.audit.note(
            "account.created", user.username, user.username, origin_of(request), user.id
        )
    return AccountOut(
        username=user.username,
        name=user.username,
        email=user.email,
        is_admin=False,
        scopes=["models", "predict"],
    )


@router.post(
    "/v1/auth/token",
    operation_id="auth.token",
    summary="Sign in",
    openapi_extra=SIGN_IN,
    responses=declared(400, 401, 413, 422, 429),
    dependencies=[Depends(limited_by_address)],
)
def sign_in(
    request: Request,
    services: ServicesDep,
    form: Annotated[OAuth2PasswordRequestForm, Depends()],
    response: Response,
) -> TokenOut:
    """OAuth2's password form: `username` (or the email address) and `password`."""
    origin = origin_of(request)
    try:
        token, seconds = services.people.accounts.sign_in(form.username, form.password, origin.address)
    except (Unauthenticated, TooMany) as error:
        services.people.audit.note("login.failed", form.username, form.username, origin, reason=error.code)
        raise
    services.people.audit.note("login.ok", form.username, form.username, origin)
    response.headers["Cache-Control"] = "no-store"
    return TokenOut(access_token=token, expires_in=seconds)


@router.get("/v1/account", operation_id="account.get", summary="Who am I", responses=declared(401))
def account(services: ServicesDep, caller: Caller) -> AccountOut:
    """The account behind the credential, and the scopes of the credential."""
    user = services.people.accounts.user(caller)
    return AccountOut(
        username=user.username,
        name=user.username,
        email=user.email,
        is_admin=user.is_admin,
        scopes=sorted(caller.scopes),
    )


@router.post(
    "/v1/keys",
    operation_id="keys.create",
    summary="Create an API key",
    status_code=201,
    responses=declared(401, 403, 409, 413, 415, 422),
)
def create_key(
    request: Request,
    services: ServicesDep,
    caller: Caller,
    body: KeyIn,
    key: IdempotencyKey,
    response: Response,
) -> NewKeyOut:
    """A key for programs. The secret is in this answer only; the server keeps its hash.

    So a repeated Idempotency-Key makes no second key, but is answered 409 `secret_shown_once` with the id of
    the first.
    """
    idempotent = IdempotentRequest.with_key("keys.create", key, body.model_dump(exclude_unset=True))
    issued = services.people.keys.create(caller, body.name, body.scopes, body.expires_at, idempotent)
    note(request, caller, "key.created", str(issued.key.id), scopes=issued.key.scopes)
    response.headers["Cache-Control"] = "no-store"
    return NewKeyOut(key=issued.secret, **KeyOut.from_key(issued.key).model_dump())


@router.get("/v1/keys", operation_id="keys.list", summary="List your API keys", responses=declared(401, 403))
def list_keys(services: ServicesDep, caller: Caller) -> KeysOut:
    """Your keys, newest first, with when each was last used (to the minute). Not for a key that only
    predicts."""
    return KeysOut(results=[KeyOut.from_key(key) for key in services.people.keys.list_own(caller)])


@router.delete(
    "/v1/keys/{key_id}",
    operation_id="keys.delete",
    summary="Revoke an API key",
    status_code=204,
    responses=declared(401, 403, 404),
)
def delete_key(request: Request, services: ServicesDep, caller: Caller, key_id: str) -> None:
    """Ends a key, at once in this process and within PRINCIPAL_CACHE_SECONDS in others. A key may end
    itself."""
    try:
        parsed = UUID(key_id)
    except ValueError:
        raise NotFound("The requested key could not be found.") from None
    services.people.keys.revoke(caller, parsed)
    note(request, caller, "key.revoked", str(parsed))
