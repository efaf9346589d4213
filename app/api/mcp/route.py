"""`/mcp`: who is calling and whether the body is sound, before the SDK reads a message; and where clients
learn what opens it.

Without sessions in memory, so that any API process answers any call. Clients of the older revisions get a
session's name all the same, which only serves to find a call that is to be canceled.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from app.api.bodies import owner_of, read_checked
from app.api.deps import Services, base_url, caller_of, limited_by_address, services_of
from app.api.mcp.call_keys import SESSION, call_key
from app.api.mcp.late_sessions import LateSessions
from app.api.problems import encode_error, request_id_of, respond
from app.domain.errors import Forbidden, InvalidRequest, LovageError
from app.services.people.access import Principal

PATH = "/mcp"
RESOURCE = "/.well-known/oauth-protected-resource"
ISSUER = "/.well-known/oauth-authorization-server"
PARSE_ERROR = -32700
CANCELED = "Its caller canceled it."
# A cancel may come before the call that it means has been written down, by way of another process.
LOOKS_SECONDS = (0.0, 0.1, 0.3, 1.0)


class McpRoutes:
    """`origins`: of browsers that may call, beside our own."""

    def __init__(self, models: tuple[str, ...], origins: Sequence[str], max_body: int) -> None:
        self._origins = frozenset(origins)
        self._sessions = LateSessions(models, max_body)
        self.routes = [
            Route(PATH, _Endpoint(self._serve), methods=["GET", "POST", "DELETE"], name="mcp"),
            Route(RESOURCE, describe_resource, methods=["GET"]),
            Route(RESOURCE + PATH, describe_resource, methods=["GET"]),
            Route(ISSUER, describe_issuer, methods=["GET"]),
        ]

    def run(self) -> AbstractAsyncContextManager[None]:
        """While it is open, calls are served. Once."""
        return self._sessions.run()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            caller = await self._admit(request)
            if request.method != "POST":
                raise HTTPException(405, "Send POST: there is no stream beside those of calls.")
            body, message = await read_checked(request, owner_of(request, caller))
        except (LovageError, HTTPException) as error:
            await _refuse(request, error)(scope, receive, send)
            return
        if isinstance(message, dict) and message.get("method") == "notifications/cancelled":
            await _cancel(services_of(request), caller, request, message)
        is_first = isinstance(message, dict) and message.get("method") == "initialize"
        manager = await self._sessions.get()
        await manager.handle_request(scope, _replay(body, receive), _with_session(send) if is_first else send)

    async def _admit(self, request: Request) -> Principal:
        """Raises Unauthenticated, Forbidden, TooMany."""
        origin = request.headers.get("origin")
        if origin and origin not in self._origins and not _is_own(origin, request):
            raise Forbidden("Pages of this origin may not call; CORS_ORIGINS lists those that may.")
        caller = await caller_of(request)
        caller.need("predict")
        return caller


class _Endpoint:
    """A route's ASGI application: Starlette takes functions for another kind of endpoint."""

    def __init__(self, serve: Callable[[Scope, Receive, Send], Any]) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send)


def _is_own(origin: str, request: Request) -> bool:
    return urlsplit(origin).netloc == request.headers.get("host")


def _refuse(request: Request, error: LovageError | HTTPException) -> Response:
    """What is wrong with a message is said in the protocol's words, everything else in the API's."""
    if isinstance(error, InvalidRequest):
        fault = {
            "jsonrpc": "2.0",
            "id": None,
            "error": {"code": PARSE_ERROR, "message": error.detail.strip()},
        }
        return Response(orjson.dumps(fault), 400, media_type="application/json")
    if isinstance(error, HTTPException):
        body, kind = encode_error(request.scope, error.status_code, error.detail, request_id_of(request))
        headers = {"Allow": "POST"} if error.status_code == 405 else None
        return Response(body, error.status_code, headers, kind)
    response = respond(request, error)
    if "www-authenticate" in response.headers:
        metadata = f'resource_metadata="{base_url(request)}{RESOURCE}{PATH}"'
        response.headers["WWW-Authenticate"] = f'Bearer realm="lovage", error="invalid_token", {metadata}'
    return response


async def _cancel(services: Services, caller: Principal, request: Request, message: dict[str, Any]) -> None:
    """Cancels what a call of the same session and caller has made."""
    session, named = request.headers.get(SESSION), (message.get("params") or {}).get("requestId")
    if not session or caller.user_id is None or not isinstance(named, int | str):
        return
    for seconds in LOOKS_SECONDS:
        await asyncio.sleep(seconds)
        if prediction := await services.follower.by_key(caller.user_id, call_key(session, named)):
            services.disconnects.cancel_abandoned([prediction.id], CANCELED)
            return


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once more, then what comes after it."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return pending.pop() if pending else await receive()

    return next_message


def _with_session(send: Send) -> Send:
    async def send_named(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            name = (SESSION.encode(), secrets.token_hex(16).encode())
            message["headers"] = [*message.get("headers", ()), name]
        await send(message)

    return send_named


async def describe_resource(request: Request) -> Response:
    """What opens `/mcp`, by RFC 9728: an API key or a token of this very platform."""
    return _describe(
        request,
        lambda base: {
            "resource": base + PATH,
            "resource_name": "Lovage",
            "authorization_servers": [base],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["predict"],
            "resource_documentation": f"{base}/docs",
        },
    )


async def describe_issuer(request: Request) -> Response:
    """Who gives tokens out, by RFC 8414: this platform, for a password. No page asks for consent, so clients
    are given a key or a token."""
    return _describe(
        request,
        lambda base: {
            "issuer": base,
            "token_endpoint": f"{base}/v1/auth/token",
            "grant_types_supported": ["password"],
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported": ["none"],
        },
    )


def _describe(request: Request, document: Callable[[str], dict[str, Any]]) -> Response:
    try:
        limited_by_address(request)
        return JSONResponse(document(base_url(request)))
    except LovageError as error:
        return respond(request, error)
