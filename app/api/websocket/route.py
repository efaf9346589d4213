"""`/ws/{client_id}`: who is calling, then the session. Knows the handshake, not the messages after it."""

import asyncio
import re

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.api.bodies import parse_json
from app.api.deps import Services, address_of, base_url, services_of
from app.api.websocket import messages as wire
from app.api.websocket.session import UNAUTHENTICATED, Session, next_text
from app.domain.errors import LovageError, TooMany, Unauthenticated
from app.services.people.access import Principal
from app.services.people.login_tries import network_of

router = APIRouter()

CLIENT_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
SUBPROTOCOL, TOKEN_PREFIX = "lovage", "lovage.token."
AUTH_SECONDS = 10.0
LONGEST_AUTH = 8_192  # characters of a message from somebody who is not known yet
BAD_CLIENT_ID, TOO_MANY = 4400, 4429


@router.websocket("/ws/{client_id}")
async def connect(socket: WebSocket, client_id: str) -> None:
    """One client. Close codes: 4400 no client id, 4401 no valid credential, 4408 silent for too long, 1012
    restarting, 4429 too many connections or failed credentials."""
    services = services_of(socket)
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    try:
        if not CLIENT_ID.match(client_id):
            await socket.close(
                BAD_CLIENT_ID, "the client id must be 1 to 64 letters, digits, dots, dashes or underscores"
            )
            return
        credential, caller = await _caller(socket, services, offered)
        owner = str(caller.user_id) if caller.user_id else network_of(address_of(socket))
        with services.sockets.enter(owner):
            await Session(socket, services, credential, caller, base_url(socket)).run(client_id)
    except Unauthenticated as error:
        await socket.close(UNAUTHENTICATED, error.detail[:120])
    except TooMany as error:
        await socket.close(TOO_MANY, error.detail[:120])
    except LovageError as error:
        await socket.close(1011, error.detail[:120])
    except WebSocketDisconnect:
        return


async def _caller(socket: WebSocket, services: Services, offered: list[str]) -> tuple[str | None, Principal]:
    """The credential and who it belongs to. One that is not valid counts as a call of its address. Raises
    Unauthenticated, TooMany."""
    try:
        credential = await _credential(socket, services, offered)
        return credential, await services.people.access.principal(credential)
    except Unauthenticated:
        services.limits.count("calls", network_of(address_of(socket)))
        raise


async def _credential(socket: WebSocket, services: Services, offered: list[str]) -> str | None:
    """By header, by subprotocol, or by the first message. Raises Unauthenticated."""
    tokens = (name.removeprefix(TOKEN_PREFIX) for name in offered if name.startswith(TOKEN_PREFIX))
    if token := next(tokens, None):
        return f"Bearer {token}"
    credential = socket.headers.get("authorization")
    if credential is None and not services.options.allow_anonymous:
        return f"Bearer {await _token_of_first_message(socket)}"
    return credential


async def _token_of_first_message(socket: WebSocket) -> str:
    try:
        async with asyncio.timeout(AUTH_SECONDS):
            text = (await next_text(socket))[:LONGEST_AUTH]
        message = wire.CLIENT.validate_python(parse_json(text.encode("utf-8", "replace")), strict=True)
    except (TimeoutError, ValidationError, LovageError):
        message = None
    if not isinstance(message, wire.AuthIn):
        raise Unauthenticated('The first message must be {"type": "auth", "token": "…"}.')
    return message.token
