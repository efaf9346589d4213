"""The node's own door: HTTP on loopback, for the gateway workers and the API of its platform. Where it is and
what opens it stands in a file of the data folder that nobody else reads."""

import json
import secrets
from functools import partial
from pathlib import Path
from typing import Any

import h11
import trio

from app.backends.peer_door import DOOR_FILE
from app.domain.peers import MOST_BYTES
from app.peers.asking import Asker
from app.peers.identity import write_private
from app.peers.messages import PeerFailed
from app.peers.node import Node

BLOCK_BYTES = 65_536
HEAD_SECONDS = 10.0
# What waits for a slow reader: a libp2p stream whose reader rests for five seconds is ended.
MOST_WAITING = 10_000


async def serve_control(node: Node, asker: Asker, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
    """Until it is cancelled."""
    token = secrets.token_hex(32)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    file = Path(node.options.folder) / DOOR_FILE
    write_private(file, json.dumps({"url": f"http://127.0.0.1:{port}", "token": token}))
    try:
        await trio.serve_listeners(
            partial(serve_connection, Control(node, asker, token)), listeners, task_status=task_status
        )
    finally:
        file.unlink(missing_ok=True)


async def serve_connection(control: "Control", stream: trio.SocketStream) -> None:
    """One request; whatever goes wrong with a caller ends its connection only."""
    try:
        async with stream:
            await control.answer(Exchange(stream))
    except* (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, h11.ProtocolError):
        pass  # it has left, or speaks no HTTP


class Exchange:
    """One request and its answer."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream, self._wire = stream, h11.Connection(h11.SERVER)
        self.method = self.path = self.token = ""

    async def read(self) -> dict[str, Any]:
        """The body. Raises BrokenResourceError, ProtocolError, TooSlowError."""
        body = bytearray()
        with trio.fail_after(HEAD_SECONDS):
            while not isinstance(event := await self._next(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    self.method, self.path = event.method.decode(), event.target.decode()
                    header = dict(event.headers).get(b"authorization", b"")
                    self.token = header.decode("latin-1").removeprefix("Bearer ")
                elif isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > MOST_BYTES:
                        raise trio.BrokenResourceError("too long a request")
                elif isinstance(event, h11.ConnectionClosed):
                    raise trio.BrokenResourceError("no request")
        try:
            value = json.loads(body or b"{}")
        except ValueError:
            value = {}
        return value if isinstance(value, dict) else {}

    async def _next(self) -> Any:
        while (event := self._wire.next_event()) is h11.NEED_DATA:
            self._wire.receive_data(await self._stream.receive_some(BLOCK_BYTES))
        return event

    async def begin(self, status: int, kind: str = "application/json") -> None:
        headers = [("content-type", kind), ("transfer-encoding", "chunked"), ("connection", "close")]
        await self._send(h11.Response(status_code=status, headers=headers))

    async def write(self, value: Any) -> None:
        await self._send(h11.Data(data=json.dumps(value).encode() + b"\n"))

    async def end(self) -> None:
        await self._send(h11.EndOfMessage())

    async def _send(self, event: Any) -> None:
        await self._stream.send_all(self._wire.send(event))

    async def wait_until_left(self) -> None:
        """Whoever asked has hung up."""
        try:
            while await self._stream.receive_some(BLOCK_BYTES):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


class Control:
    """Answers requests that bring the token."""

    def __init__(self, node: Node, asker: Asker, token: str) -> None:
        self._node, self._asker = node, asker
        self._token = token

    async def answer(self, exchange: Exchange) -> None:
        body = await exchange.read()
        if not secrets.compare_digest(exchange.token, self._token):
            await self._whole(exchange, 401, {"detail": "wants the token of its file"})
        elif (exchange.method, exchange.path) == ("POST", "/predictions"):
            await self._predict(exchange, body)
        elif (exchange.method, exchange.path) == ("POST", "/describe"):
            await self._describe(exchange, body)
        elif (exchange.method, exchange.path) == ("GET", "/peers"):
            await self._whole(exchange, 200, self._peers())
        else:
            await self._whole(exchange, 404, {"detail": "is not here"})

    async def _whole(self, exchange: Exchange, status: int, value: Any) -> None:
        await exchange.begin(status)
        await exchange.write(value)
        await exchange.end()

    def _peers(self) -> dict[str, Any]:
        own = self._node
        return {
            "id": own.id,
            "name": own.options.name,
            "addresses": own.addresses(),
            "running": own.running,
            "limit": own.options.limit if own.options.api_key else 0,
            "offers": [each.name for each in own.offered],
            "peers": own.table.describe(trio.current_time()),
        }

    async def _describe(self, exchange: Exchange, body: dict[str, Any]) -> None:
        try:
            answer = await self._asker.describe(str(body.get("model")), body.get("peers") or ())
        except PeerFailed as error:
            await self._whole(exchange, 502, {"detail": error.sentence})
        else:
            await self._whole(exchange, 200, answer)

    async def _predict(self, exchange: Exchange, body: dict[str, Any]) -> None:
        """Lines of JSON. Whoever hangs up cancels it."""
        sender, receiver = trio.open_memory_channel[dict[str, Any]](MOST_WAITING)
        await exchange.begin(200, "application/x-ndjson")
        async with trio.open_nursery() as nursery:

            async def leave() -> None:
                await exchange.wait_until_left()
                nursery.cancel_scope.cancel()

            async def ask() -> None:
                async with sender:
                    model, values = str(body.get("model")), body.get("input") or {}
                    await self._asker.predict(model, values, body.get("peers") or (), sender.send)

            nursery.start_soon(leave)
            nursery.start_soon(ask)
            async for message in receiver:
                await exchange.write(message)
            await exchange.end()
            nursery.cancel_scope.cancel()
