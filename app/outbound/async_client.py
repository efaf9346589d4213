"""Hundreds of calls at once on one event loop, to addresses that administrators name: pinned, without
redirects, proxies, cookies or the environment. Used for backends.

On aiohttp, whose parser is compiled: with httpcore a call cost several times the CPU. It is imported with the
first call, and by no process that calls no backend."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from app.outbound.addresses import AddressPolicy
from app.outbound.guard import Refused, check_url

if TYPE_CHECKING:
    import aiohttp

CONNECT_SECONDS = 5.0

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
            from app.outbound.async_connections import open_session

            self._session = open_session(self._policy, self._connections)
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


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
