"""Which URLs of users we call: checked when a prediction is created, and at every connection again, since a
name may resolve to another address by then. `guarded_client` calls them.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from app.outbound.addresses import AddressPolicy

LONGEST_URL = 2_048
PRIVATE = "points to a private or reserved address"
# Forms of an IPv4 address that C libraries accept beside the dotted quad: decimal, hexadecimal, octal, short.
NUMERIC_HOST = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){0,3}\.?\Z", re.I)
HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*\.?\Z", re.I
)


class Refused(ValueError):
    """The URL is not one that we call."""


def check_url(url: str, policy: AddressPolicy) -> None:
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
    _check_host(host, policy)


def _check_host(host: str, policy: AddressPolicy) -> None:
    if ":" in host:
        if not policy.allows(host):
            raise Refused(PRIVATE)
        return
    if not host.isascii() or not HOST_NAME.match(host):
        raise Refused("must name a host in plain ASCII letters, digits, dots and dashes")
    name = host.rstrip(".").lower()
    if NUMERIC_HOST.match(host):
        _check_numeric(name, policy)
    elif not policy.allow_private and (
        name == "localhost" or name.endswith((".localhost", ".local", ".internal"))
    ):
        raise Refused(PRIVATE)


def _check_numeric(name: str, policy: AddressPolicy) -> None:
    try:
        address = str(ipaddress.IPv4Address(name))
    except ValueError:
        raise Refused("must write an IPv4 address as four decimal numbers") from None
    if not policy.allows(address):
        raise Refused(PRIVATE)


def checked_addresses(infos: Iterable[tuple[Any, ...]], policy: AddressPolicy) -> list[str]:
    """The addresses of a getaddrinfo answer; Refused if any of them may not be called."""
    addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
    if not all(policy.allows(address) for address in addresses):
        raise Refused(PRIVATE)
    return addresses
