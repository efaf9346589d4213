"""The API's HTTP server: uvicorn, and a shutdown that no caller notices.

After a stop signal it says so at /ready and in every answer (`Connection: close`) and goes on serving for a
while, so that load balancers send calls elsewhere; then it accepts no more, lets open requests end, and ends
waits and streams in time for their clients to resume with another process.
"""

import asyncio
import time
from collections.abc import Callable

import uvicorn

OPEN_SECONDS = 4.0  # after the drain: for requests to end by themselves
LAST_SECONDS = 7  # after the drain: what is still open is cut
TURN_SECONDS = 0.05


class Leaving:
    """Whether this process is about to end; `hurry` is called when those who wait are to be answered now."""

    def __init__(self) -> None:
        self.begun = False
        self.hurry: Callable[[], None] = lambda: None


class Server(uvicorn.Server):
    """`drain_seconds`: how long it goes on serving after the first signal; a second signal ends that.

    The application's lifespan gives its Leaving in its state, under `leaving`.
    """

    def __init__(self, config: uvicorn.Config, drain_seconds: float) -> None:
        super().__init__(config)
        self._drain_seconds = drain_seconds

    async def shutdown(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        leaving: Leaving = self.lifespan.state["leaving"]
        leaving.begun = True
        until = time.monotonic() + self._drain_seconds
        while self._is_draining(until):  # noqa: ASYNC110 - a signal's handler sets no Event
            await asyncio.sleep(TURN_SECONDS)
        asyncio.get_running_loop().call_later(OPEN_SECONDS, leaving.hurry)
        await super().shutdown(sockets)  # type: ignore[arg-type]

    def _is_draining(self, until: float) -> bool:
        return time.monotonic() < until and len(self._captured_signals) < 2
