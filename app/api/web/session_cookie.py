"""Sign-in by cookie, in pure ASGI: a browser's cookie holds a credential that the API takes anyway, and is
put where a client of the API would put it.

Safe against other sites: the cookie is SameSite=Strict, scripts cannot read it, and a call that may change
something counts as signed in only when the browser says that it comes from this very origin.
"""

import hashlib
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

SAFE = ("GET", "HEAD", "OPTIONS", "QUERY")


def cookie_name(secret: str) -> str:
    """Cookies know no ports: two platforms on one host must not sign each other out."""
    return "lovage_" + hashlib.sha256(b"lovage cookie\x00" + secret.encode()).hexdigest()[:8]


class SessionCookie:
    """Gives a request without `Authorization` the credential of its cookie."""

    def __init__(self, app: ASGIApp, *, name: str) -> None:
        self._app = app
        self._prefix = name.encode() + b"="

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            self._authorize(scope)
        await self._app(scope, receive, send)

    def _authorize(self, scope: Scope) -> None:
        cookie = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                return
            if name == b"cookie":
                cookie = value
        if cookie is None or self._prefix not in cookie:
            return
        values = [part.strip() for part in cookie.split(b";")]
        credential = next(
            (part[len(self._prefix) :] for part in values if part.startswith(self._prefix)), b""
        )
        if credential and is_own_origin(scope):
            scope["headers"] = [*scope["headers"], (b"authorization", b"Bearer " + credential)]


def is_own_origin(scope: Scope) -> bool:
    """Whether a request that may change something comes from one of our own pages. Reading is everybody's
    who has the cookie: other sites do not see the answer."""
    if scope["type"] == "http" and scope["method"] in SAFE:
        return True
    headers = dict(scope["headers"])
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return bool(site == b"same-origin")
    # Browsers leave the header out on plain HTTP to another host than this one; Origin they always send.
    origin = urlsplit(headers.get(b"origin", b"").decode("latin-1")).netloc
    return bool(origin) and origin == headers.get(b"host", b"").decode("latin-1")
