"""The connections of an AsyncGuardedClient: to checked addresses only, opened a few at a time."""

import asyncio
import socket
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from app.outbound.addresses import AddressPolicy
from app.outbound.guard import checked_addresses
from app.outbound.guarded_client import MOST_ADDRESSES

# A burst of calls opens its connections a few at a time: were all begun at once on a busy machine, all would
# be given up together.
OPENED_AT_ONCE = 32
GIVEN_UP = 3  # in a row; then who has waited to open one gives up, too
KEEP_SECONDS = 15.0  # an idle connection; servers commonly close theirs later than this
LONGEST_LINE = 65_536  # bytes of one header line


def open_session(policy: AddressPolicy, connections: int) -> aiohttp.ClientSession:
    """On the loop of its calls."""
    return aiohttp.ClientSession(
        connector=PacedConnector(
            limit=connections,
            use_dns_cache=False,
            resolver=PinnedResolver(policy),
            keepalive_timeout=KEEP_SECONDS,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("Accept-Encoding",),
        auto_decompress=False,
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
    )


class PinnedResolver(AbstractResolver):
    """Answers the addresses that were checked, so that no others are connected to."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        checked_addresses(infos, self._policy)
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


class PacedConnector(aiohttp.TCPConnector):
    """Opens no more than OPENED_AT_ONCE connections at a time. Time spent waiting for that is not counted as
    the server's."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._turns = asyncio.Semaphore(OPENED_AT_ONCE)
        self._given_up = 0

    async def _create_connection(self, *request: Any) -> Any:
        has_waited = self._turns.locked()
        async with self._turns:
            if has_waited and self._given_up >= GIVEN_UP:
                raise aiohttp.ConnectionTimeoutError
            try:
                connection = await super()._create_connection(*request)
            except aiohttp.ClientError:
                self._given_up += 1
                raise
            self._given_up = 0
            return connection
