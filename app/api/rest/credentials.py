"""Your own credentials: the password, signing out everywhere, the key that signs links to files."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, ServicesDep, note, origin_of
from app.api.problems import declared
from app.api.rest.accounts import TokenOut
from app.domain.errors import InvalidRequest, TooMany

router = APIRouter(tags=["Accounts"], route_class=CheckedRoute)


class PasswordIn(BaseModel):
    """The password until now, and the one from now on."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"current_password": "correct horse battery", "new_password": "tr0ub4dor and three"}]
        },
    )

    current_password: str = Field(max_length=1_024, examples=["correct horse battery"])
    new_password: str = Field(max_length=1_024, min_length=8, examples=["tr0ub4dor and three"])


class SignOutIn(BaseModel):
    """How much ends."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"revoke_keys": False}]})

    revoke_keys: bool = Field(False, description="API keys end, too.")


class FileKeyOut(BaseModel):
    """`key` signs links to your uploaded files (`GET /v1/files/{file_id}/download`); keep it secret."""

    key: str


@router.put(
    "/v1/account/password",
    operation_id="account.password.update",
    summary="Change your password",
    responses=declared(401, 403, 413, 415, 422, 429),
)
def change_password(
    request: Request, services: ServicesDep, caller: Caller, body: PasswordIn, response: Response
) -> TokenOut:
    """Ends every token that was issued until now, and answers a new one. API keys stay. A wrong
    `current_password` counts like one at signing in."""
    origin = origin_of(request)
    try:
        token, seconds = services.people.credentials.change_password(
            caller, body.current_password, body.new_password, origin.address
        )
    except (InvalidRequest, TooMany) as error:
        note(request, caller, "password.change_failed", caller.username, reason=error.code)
        raise
    note(request, caller, "password.changed", caller.username)
    response.headers["Cache-Control"] = "no-store"
    return TokenOut(access_token=token, expires_in=seconds)


@router.post(
    "/v1/account/sign-out",
    operation_id="account.signout",
    summary="Sign out everywhere",
    status_code=204,
    responses=declared(401, 403, 413, 415, 422),
)
def sign_out(request: Request, services: ServicesDep, caller: Caller, body: SignOutIn | None = None) -> None:
    """Ends every token that was issued until now, at once in this process and within PRINCIPAL_CACHE_SECONDS
    in others; with `revoke_keys` your API keys, too."""
    revoke_keys = body is not None and body.revoke_keys
    services.people.credentials.sign_out(caller, revoke_keys=revoke_keys)
    note(request, caller, "account.signed_out", caller.username, revoke_keys=revoke_keys)


@router.get(
    "/v1/account/file-key",
    operation_id="account.filekey.get",
    summary="Get the key for links to your files",
    responses=declared(401, 403),
)
def file_key(services: ServicesDep, caller: Caller, response: Response) -> FileKeyOut:
    """With it you make links to your uploaded files that you can hand on. Not for a key that only
    predicts."""
    response.headers["Cache-Control"] = "no-store"
    return FileKeyOut(key=services.people.credentials.file_key(caller))


@router.post(
    "/v1/account/file-key/rotate",
    operation_id="account.filekey.rotate",
    summary="Replace the key for links to your files",
    responses=declared(401, 403),
)
def rotate_file_key(
    request: Request, services: ServicesDep, caller: Caller, response: Response
) -> FileKeyOut:
    """All links that you have handed on end at once."""
    key = services.people.credentials.rotate_file_key(caller)
    note(request, caller, "file_key.rotated", caller.username)
    response.headers["Cache-Control"] = "no-store"
    return FileKeyOut(key=key)
