"""What a proxy in front of us says of the caller, if it is one that TRUSTED_PROXIES names.

uvicorn's middleware takes the caller's address and scheme out of X-Forwarded-For and -Proto, ours the host
and the path's beginning out of X-Forwarded-Host and -Prefix; from anybody else these headers prove nothing.
Behind a proxy that nobody has named all callers have its one address, and share what is counted by address:
that is said once, in the log.
"""

import re
from typing import Any

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

log = structlog.get_logger(__name__)


PREFIX = "forwarded_prefix"  # of a request's scope: what the proxy has taken away from its path
DOCS = ("/docs", "/redoc", "/openapi.json")
HOST = re.compile(r"[A-Za-z0-9.\-]{1,253}(?::\d{1,5})?\Z|\[[0-9a-fA-F:.]{2,45}\](?::\d{1,5})?\Z")
GOOD_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~%-]{1,64}){1,8}\Z")


class TrustedProxies(ProxyHeadersMiddleware):
    """Believes these headers of the proxies that it is given. A host or prefix that is none is left out."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        client = scope.get("client")
        if client and client[0] in self.trusted_hosts:
            _take_address(scope)
        await super().__call__(scope, receive, send)


class DocsBelowPrefix:
    """Tells FastAPI's pages of documentation where they lie, when a proxy takes the beginning of their path
    away. The routes must not know: they would take it away once more."""

    def __init__(self, app: ASGIApp, public_path: str) -> None:
        self._app, self._path = app, public_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in DOCS:
            scope["root_path"] = self._path or scope.get(PREFIX, "")
        await self._app(scope, receive, send)


def _take_address(scope: Scope) -> None:
    headers = dict(scope["headers"])
    prefix = _first(headers.get(b"x-forwarded-prefix", b"")).rstrip("/")
    if GOOD_PREFIX.match(prefix):
        scope[PREFIX] = prefix
    host = _first(headers.get(b"x-forwarded-host", b""))
    if HOST.match(host):
        others = [pair for pair in scope["headers"] if pair[0] != b"host"]
        scope["headers"] = [*others, (b"host", host.encode("latin-1"))]


def _first(header: bytes) -> str:
    """What the outermost of several proxies has said."""
    return header.decode("latin-1").partition(",")[0].strip()


class ProxyCheck:
    """One for each API process."""

    def __init__(self) -> None:
        self._warned = False

    def look(self, address: str, forwarded_for: str) -> bool:
        """Whether the caller's address is not one that the header names: its peer is no trusted proxy. Warns
        at the first such call."""
        if self._warned or address in {_host(part) for part in forwarded_for.split(",")}:
            return False
        self._warned = True
        log.warning(
            "proxy_not_trusted",
            peer=address,
            forwarded_for=forwarded_for[:200],
            meaning=(
                "X-Forwarded-For of this peer is not believed, so all callers behind it are counted as one."
                " If it is your proxy, name it in TRUSTED_PROXIES."
            ),
        )
        return True


def _host(part: str) -> str:
    """An address of the header, which may have a port."""
    text = part.strip()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
