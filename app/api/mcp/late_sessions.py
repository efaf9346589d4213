"""The SDK's session manager, imported and started by the first call: the import takes a second and 40 MB, and
few platforms get a call of this protocol."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager


class LateSessions:
    """For one event loop. `models` are tools of their own, `max_body` is in bytes."""

    def __init__(self, models: tuple[str, ...], max_body: int) -> None:
        self._models, self._max_body = models, max_body
        self._keeper: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """While it is open, calls are served. Once."""
        self._closing = asyncio.Event()
        self._sessions = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            self._closing.set()
            if self._keeper is not None:
                await self._keeper

    async def get(self) -> "StreamableHTTPSessionManager":
        """The manager, running."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())
        return await asyncio.shield(self._sessions)

    async def _keep(self) -> None:
        """The manager must be closed by the task that has opened it."""
        try:
            manager = await asyncio.to_thread(self._make)
            async with manager.run():
                self._sessions.set_result(manager)
                await self._closing.wait()
        except Exception as error:  # whoever waits gets it, and the platform goes on
            if self._sessions.done():
                raise
            self._sessions.set_exception(error)

    def _make(self) -> "StreamableHTTPSessionManager":
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        from app.api.mcp.server import ToolServer

        server = ToolServer(self._models).server
        return StreamableHTTPSessionManager(app=server, stateless=True, max_request_body_size=self._max_body)
