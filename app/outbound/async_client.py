"""Hundreds of calls at once on one event loop, to addresses that administrators name: pinned, without
redirects, proxies or the environment. Used for backends.

Straight on httpcore: the layers of httpx above it cost as much CPU as the call itself. A pool looks through
all its connections at every call, so there are several small ones."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpcore

from app.outbound.addresses import AddressPolicy
from app.outbound.guard import Refused, check_url, checked_addresses
from app.outbound.guarded_client import CONNECT_SECONDS, MOST_ADDRESSES

CONNECTIONS_OF_POOL = 32
KEEP_SECONDS = 15.0  # an idle connection; servers commonly close theirs later than this

Headers = Mapping[str, str]


class CallFailed(Exception):
    """No answer, or not all of it. The sentence goes on after the server's name."""


class _PinnedBackend(httpcore.AnyIOBackend):
    """Connects to the address that was checked, not to whatever the name means a moment later."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as httpcore calls it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = httpcore.ConnectError("no address")
        for address in (await self._resolve(host, port))[:MOST_ADDRESSES]:
            try:
                return await super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _resolve(self, host: str, port: int) -> list[str]:
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host} does not resolve") from error
        return checked_addresses(infos, self._policy)


class Answer:
    """An answer whose head is there."""

    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response
        self.status = response.status
        self.headers = {name.decode().lower(): value.decode("latin-1") for name, value in response.headers}

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises CallFailed when it is cut."""
        async for block in self._response.aiter_stream():
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
        self._policy = policy
        self._tls = ssl.create_default_context()
        pools = max(1, -(-connections // CONNECTIONS_OF_POOL))
        self._pools = [self._new_pool(policy, -(-connections // pools)) for _ in range(pools)]
        self._open = [0] * pools

    def _new_pool(self, policy: AddressPolicy, connections: int) -> httpcore.AsyncConnectionPool:
        return httpcore.AsyncConnectionPool(
            ssl_context=self._tls,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=KEEP_SECONDS,
            network_backend=_PinnedBackend(policy),
        )

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
        number = self._open.index(min(self._open))
        self._open[number] += 1
        try:
            check_url(url, self._policy)
            timeout = {"connect": CONNECT_SECONDS, "read": silence, "write": silence, "pool": silence}
            async with self._pools[number].stream(
                method,
                url,
                headers=list((headers or {}).items()),
                content=content,
                extensions={"timeout": timeout},
            ) as response:
                yield Answer(response)
        except Refused as error:
            raise CallFailed(f"is not called: the address {error}") from error
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise CallFailed(_sentence(error, silence)) from error
        except httpcore.UnsupportedProtocol as error:
            raise CallFailed(str(error)) from error
        finally:
            self._open[number] -= 1

    async def close(self) -> None:
        for pool in self._pools:
            await pool.aclose()


def _sentence(error: Exception, silence: float) -> str:
    match error:
        case httpcore.ConnectTimeout():
            return f"does not take a connection within {CONNECT_SECONDS:g} s"
        case httpcore.ConnectError():
            return f"cannot be reached ({error})"
        case httpcore.PoolTimeout():
            return f"had no free connection for {silence:g} s"
        case httpcore.ReadTimeout():
            return f"said nothing for {silence:g} s"
        case httpcore.RemoteProtocolError() | httpcore.ReadError():
            return f"broke the connection off ({str(error) or type(error).__name__})"
    return f"could not be called ({str(error) or type(error).__name__})"
