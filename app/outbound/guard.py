"""The one client for URLs that users name: resolves once, checks every address, connects to the checked one,
follows nothing.

Used for webhooks and for file inputs; checked when a prediction is created and again at every connection,
since a name may resolve to another address by then.
"""

import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx

from app.outbound.addresses import is_public

CONNECT_SECONDS = 3.0
FETCH_SECONDS = 60.0  # of silence
WHOLE_SECONDS = 600.0  # a server that drips keeps one of few threads busy for no longer
LONGEST_URL = 2_048
PRIVATE = "points to a private or reserved address"
# Forms of an IPv4 address that C libraries accept beside the dotted quad: decimal, hexadecimal, octal, short.
NUMERIC_HOST = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){0,3}\.?\Z", re.I)
HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*\.?\Z", re.I
)


class Refused(ValueError):
    """The URL is not one that we call."""


def check_url(url: str, allow_private: bool = False) -> None:
    """Raises Refused (a ValueError) with a sentence unless the URL is http(s), well-formed and not evidently
    private.

    Looks at the text only; names are resolved and checked when connecting.
    """
    if len(url) > LONGEST_URL or any(ord(c) <= 32 or ord(c) == 127 or c == "\\" for c in url):
        raise Refused(
            f"must be a URL of at most {LONGEST_URL} characters without spaces, control characters or"
            " backslashes"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Refused("is not a valid URL") from None
    if parts.scheme not in ("http", "https"):
        raise Refused("must begin with http:// or https://")
    if "@" in parts.netloc:
        raise Refused("must not contain a user name or password")
    if not host or port == 0:
        raise Refused("must name a host")
    _check_host(host, allow_private)


def _check_host(host: str, allow_private: bool) -> None:
    if ":" in host:
        if not allow_private and not is_public(host):
            raise Refused(PRIVATE)
        return
    if not host.isascii() or not HOST_NAME.match(host):
        raise Refused("must name a host in plain ASCII letters, digits, dots and dashes")
    if allow_private:
        return
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith((".localhost", ".local", ".internal")):
        raise Refused(PRIVATE)
    if NUMERIC_HOST.match(host):
        _check_numeric(name)


def _check_numeric(name: str) -> None:
    try:
        address = str(ipaddress.IPv4Address(name))
    except ValueError:
        raise Refused("must write an IPv4 address as four decimal numbers") from None
    if not is_public(address):
        raise Refused(PRIVATE)


def checked_addresses(infos: Iterable[tuple[Any, ...]], allow_private: bool) -> list[str]:
    """The addresses of a getaddrinfo answer; Refused if any of them is private."""
    addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
    if not allow_private and not all(is_public(address) for address in addresses):
        raise Refused(PRIVATE)
    return addresses


class _PinnedBackend(httpcore.SyncBackend):
    """Connects to the address that was checked, not to whatever the name means a moment later."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private

    def connect_tcp(self, host: str, port: int, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host} does not resolve") from error
        failure: Exception = httpcore.ConnectError("no address")
        for address in checked_addresses(infos, self._allow_private):
            try:
                return super().connect_tcp(address, port, *args, **kwargs)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _Transport(httpx.HTTPTransport):
    def __init__(self, allow_private: bool, connections: int) -> None:
        super().__init__(trust_env=False, retries=0)
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=5.0,
            network_backend=_PinnedBackend(allow_private),
        )


def guarded_client(*, allow_private: bool, timeout: float, connections: int = 64) -> httpx.Client:
    """A thread-safe client: no redirects, no proxies, no environment, pinned addresses.

    A refused address raises Refused from the request.
    """
    limits = httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout))
    return httpx.Client(
        transport=_Transport(allow_private, connections),
        timeout=limits,
        follow_redirects=False,
        trust_env=False,
    )


def fetch(url: str, target: Path, max_bytes: int, allow_private: bool) -> None:
    """Downloads a URL into `target`. Raises ValueError with a sentence for anything but a 200 of at most
    `max_bytes`."""
    check_url(url, allow_private)
    try:
        with (
            guarded_client(allow_private=allow_private, timeout=FETCH_SECONDS) as client,
            client.stream("GET", url) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise ValueError(f"the URL answered {answer.status_code}")
            size, until = 0, time.monotonic() + WHOLE_SECONDS
            with target.open("wb") as out:
                for block in answer.iter_bytes():
                    size += len(block)
                    if size > max_bytes:
                        raise ValueError(f"the file is larger than {max_bytes} bytes")
                    if time.monotonic() > until:
                        raise ValueError(f"the file took longer than {WHOLE_SECONDS:g} s")
                    out.write(block)
    except httpx.HTTPError as error:
        raise ValueError(f"the URL could not be read: {error or type(error).__name__}") from error
