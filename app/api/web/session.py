"""Signing in and out with a browser: a password, an API key or a one-time link for a cookie. The only
addresses of the app that are not public API.
"""

from typing import Any
from urllib.parse import urlsplit

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from app import __version__
from app.api.bodies import CheckedRoute
from app.api.deps import Services, ServicesDep, origin_of
from app.api.web.pages import base_path
from app.api.web.session_cookie import is_own_origin
from app.domain.errors import Forbidden, InvalidRequest, TooMany, Unauthenticated
from app.services.people.access import Principal

router = APIRouter(route_class=CheckedRoute, include_in_schema=False)


class SignInIn(BaseModel):
    """One of the three ways."""

    model_config = ConfigDict(extra="forbid")

    username: str = Field("", max_length=320)
    password: str = Field("", max_length=1_024)
    key: str = Field("", max_length=4_096)
    link: str = Field("", max_length=4_096)


@router.get("/session")
async def session(request: Request, services: ServicesDep) -> Response:
    """Who is signed in, if anybody: always 200, because not being signed in is no fault of a page."""
    try:
        caller = await services.people.access.principal(request.headers.get("authorization"))
    except Unauthenticated:
        caller = None
    return _answer(services, caller)


def _answer(services: Services, caller: Principal | None) -> Response:
    options = services.options
    person: dict[str, Any] | None = None
    if caller is not None and caller.user_id is not None:
        person = {
            "username": caller.username,
            "is_admin": caller.is_operator,
            "scopes": sorted(caller.scopes),
            "by_key": caller.key_id is not None,
        }
    body = {
        "user": person,
        "anonymous": options.allow_anonymous,
        "registration": options.allow_registration,
        "version": __version__,
        "flower_url": options.flower_url if person and person["is_admin"] else "",
    }
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


@router.post("/session", openapi_extra={"security": []})
async def sign_in(request: Request, services: ServicesDep, body: SignInIn) -> Response:
    """Sets the cookie. Raises Unauthenticated, AccountDisabled, TooMany."""
    if not is_own_origin(request.scope):
        raise Forbidden("Sign in on this server's own page.")
    origin, name = origin_of(request), body.username or ("key" if body.key else "link")
    try:
        credential = await _credential(services, body, origin.address)
        caller = await services.people.access.principal(f"Bearer {credential}")
    except (Unauthenticated, TooMany) as error:
        services.people.audit.note("login.failed", name, name, origin, reason=error.code)
        raise
    services.people.audit.note("login.ok", caller.username, caller.username, origin)
    answer = _answer(services, caller)
    _set_cookie(answer, request, services, credential, services.people.sessions.seconds)
    return answer


async def _credential(services: Services, body: SignInIn, peer: str) -> str:
    ways = [name for name in ("password", "key", "link") if getattr(body, name)]
    if len(ways) != 1:
        raise InvalidRequest("Give a username and a password, or an API key.")
    if body.key:
        return body.key.strip()
    if body.link:
        return await run_sync(services.people.sessions.redeem, body.link)
    token, _ = await run_sync(services.people.accounts.sign_in, body.username, body.password, peer)
    caller = await services.people.access.principal(f"Bearer {token}")
    return await run_sync(services.people.sessions.issue, caller.need_user())


@router.delete("/session", status_code=204)
async def sign_out(request: Request, services: ServicesDep) -> Response:
    """Removes the cookie from this browser."""
    answer = Response(status_code=204)
    if is_own_origin(request.scope):
        _set_cookie(answer, request, services, "", 0)
    return answer


def _set_cookie(answer: Response, request: Request, services: Services, value: str, seconds: int) -> None:
    scheme = urlsplit(services.options.public_url).scheme or request.url.scheme
    answer.set_cookie(
        request.app.state.cookie_name,
        value,
        max_age=seconds,
        path=base_path(request),
        secure=scheme == "https",
        httponly=True,
        samesite="strict",
    )
