"""A session without a network: a client that neither reads nor says that it is gone."""

import asyncio
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from starlette.websockets import WebSocketDisconnect

from app.api.websocket.session import Session
from app.services.people.access import ANONYMOUS


class Flood:
    """Asks and asks, and takes no answer; once it is `gone`, whoever sends to it learns that."""

    client = None
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "websocket.receive", "text": '{"type": "ping"}'}

    async def send_text(self, _text: str) -> None:
        await self.gone.wait()
        raise WebSocketDisconnect(1006)


@pytest.fixture
def left() -> list[Any]:
    return []


@pytest.fixture
def services(left: list[Any]) -> Any:
    return SimpleNamespace(
        subscriptions=SimpleNamespace(join=lambda subscription: None, leave=left.append),
        options=SimpleNamespace(ws_idle_seconds=60.0, ws_recheck_seconds=60.0),
        bodies=None,
        limits=SimpleNamespace(count=lambda policy, name: None),
        disconnects=SimpleNamespace(cancel_abandoned=lambda ids: None),
    )


async def test_a_client_that_is_gone_with_a_full_queue_leaves_no_session_behind(
    services: Any, left: list[Any]
) -> None:
    socket: Any = Flood()
    session = Session(socket, services, None, ANONYMOUS, "http://lovage.test")
    running = asyncio.ensure_future(session.run("flood"))
    async with asyncio.timeout(10):
        while not session.outgoing.is_full:
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert not running.done(), "a full queue slows the client down and no more"
        socket.gone.set()
        with pytest.raises(WebSocketDisconnect):
            await running
    assert left, "its subscription is gone"
