"""Hundreds of calls at once on one event loop, to addresses that administrators name: pinned, without
redirects, proxies, cookies or the environment. Used for backends.

On aiohttp, whose parser is compiled: with httpcore a call cost several times the CPU."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from app.outbound.addresses import AddressPolicy
from app.outbound.guard import Refused, check_url, checked_addresses
from app.outbound.guarded_client import CONNECT_SECONDS, MOST_ADDRESSES

if TYPE_CHECKING:
    import aiohttp

KEEP_SECONDS = 15.0  # an idle connection; servers commonly close theirs later than this
LONGEST_LINE = 65_536  # bytes of one header line

Headers = Mapping[str, str]


class CallFailed(Exception):
    """No answer, or not all of it. The sentence goes on after the server's name."""


class Answer:
    """An answer whose head is there."""

    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: "aiohttp.ClientResponse") -> None:
        self._response = response
        self.status = response.status
        self.headers: Headers = response.headers  # whatever their case

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises CallFailed when it is cut."""
        async for block in self._response.content.iter_any():
            yield block

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises CallFailed for more than `limit` bytes."""
        body = bytearray()
        async for block in self.blocks():
            body += block
            if len(body) > limit:
                raise CallFailed(f"answered more than {limit} bytes")
        return bytes(body)


class AsyncGuardedClient:
    """For one event loop. `connections`: most that are open."""

    def __init__(self, policy: AddressPolicy, connections: int = 64) -> None:
        self._policy, self._connections = policy, connections
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        silence: float,
        content: bytes | None = None,
        headers: Headers | None = None,
    ) -> AsyncIterator[Answer]:
        """The answer, whose body is to be read within. Raises CallFailed, also from within."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=silence)
        try:
            check_url(url, self._policy)
            async with self._opened().request(
                method, url, data=content, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                yield Answer(response)
        except Refused as error:
            raise CallFailed(f"is not called: the address {error}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise CallFailed(_sentence(error, silence)) from error

    def _opened(self) -> "aiohttp.ClientSession":
        """On the loop of the first call."""
        if self._session is None:
            self._session = _open_session(self._policy, self._connections)
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _open_session(policy: AddressPolicy, connections: int) -> "aiohttp.ClientSession":
    """aiohttp is imported here, and in no process that calls no backend."""
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult

    class PinnedResolver(AbstractResolver):
        """Answers the addresses that were checked, so that no others are connected to."""

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            loop = asyncio.get_running_loop()
            infos = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
            checked_addresses(infos, policy)
            return [
                ResolveResult(
                    hostname=host,
                    host=str(info[4][0]),
                    port=port,
                    family=info[0],
                    proto=info[2],
                    flags=socket.AI_NUMERICHOST,
                )
                for info in infos[:MOST_ADDRESSES]
            ]

        async def close(self) -> None:
            """Holds nothing."""

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=connections, use_dns_cache=False, resolver=PinnedResolver(), keepalive_timeout=KEEP_SECONDS
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("Accept-Encoding",),
        auto_decompress=False,
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
    )


def _sentence(error: Exception, silence: float) -> str:
    """Which of aiohttp's errors it is; those that are listed first are kinds of the later ones."""
    import aiohttp

    match error:
        case aiohttp.ConnectionTimeoutError():
            return f"does not take a connection within {CONNECT_SECONDS:g} s"
        case aiohttp.ServerTimeoutError() | TimeoutError():
            return f"said nothing for {silence:g} s"
        case aiohttp.ClientConnectorDNSError():
            return f"cannot be reached (the name {error.host} does not resolve)"
        case aiohttp.ClientConnectorError():
            return f"cannot be reached ({error.strerror or error})"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError() | aiohttp.ClientOSError():
            return f"broke the connection off ({type(error).__name__})"
    return f"could not be called ({str(error)[:200] or type(error).__name__})"
