"""HEAD and OPTIONS for every address, so that monitors, link previews and proxies may ask as they do.

Knows no route by name.
"""

from starlette.requests import ClientDisconnect, Request
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BACK = ("route", "request_id")  # what the routes find out about a request and its observers read


async def answer_head(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a HEAD as a GET without its body; a stream ends at once."""
    inner = {**scope, "method": "GET"}
    is_answered = False

    async def send_head(message: Message) -> None:
        nonlocal is_answered
        if not is_answered:
            is_answered = True
            await send(message)
            await send({"type": "http.response.body", "body": b""})
        elif message.get("more_body"):
            raise ClientDisconnect  # whatever streams stops, as if the caller had gone

    try:
        await app(inner, receive, send_head)
    finally:
        scope.update({name: inner[name] for name in BACK if name in inner})


def allowed_methods(request: Request) -> str:
    """The methods that this address takes, as `Allow` lists them."""
    methods = {"OPTIONS"}
    for route in request.app.router.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
