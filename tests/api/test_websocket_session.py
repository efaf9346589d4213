"""A session without a network: a client that neither reads nor says that it is gone."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from starlette.websockets import WebSocketDisconnect

from app.api.websocket.followed_predictions import FollowedPredictions
from app.api.websocket.messages import PingOut
from app.api.websocket.outgoing import Outgoing
from app.api.websocket.session import Session
from app.byte_budget import ByteBudget, OwnByteBudgets
from app.domain.predictions import Prediction, Status
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
        unsent=OwnByteBudgets(1_000),
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


async def test_what_a_client_does_not_take_is_held_for_its_own_user_alone() -> None:
    """Two of its three predictions fit into what its user may leave unsent."""
    long = Prediction("p", None, "v", "a/b", Status.SUCCEEDED, "cpu", datetime.now(UTC), left_out=("output",))
    long.output_bytes = 50
    reads: list[str] = []

    async def get(prediction_id: str) -> Prediction:
        reads.append(prediction_id)
        return long

    follower = SimpleNamespace(get=get, budget=ByteBudget(100))
    services: Any = SimpleNamespace(follower=follower, answers=SimpleNamespace(read=lambda *_: {}))
    budgets, socket = OwnByteBudgets(100), Flood()
    outgoing = Outgoing(socket)  # type: ignore[arg-type]
    outgoing.start()
    follow = FollowedPredictions(services, outgoing, "", budgets.budget_of("deaf"))
    writing = [asyncio.create_task(follow.write_prediction(long, lambda _: PingOut())) for _ in range(3)]
    async with asyncio.timeout(5):
        while len(reads) < 2:
            await asyncio.sleep(0.01)
        async with follower.budget.hold(100), budgets.budget_of("other").hold(100):
            assert len(reads) == 2, "the third waits until a client of this user has taken one"
        socket.gone.set()
        await asyncio.gather(*writing, return_exceptions=True)
