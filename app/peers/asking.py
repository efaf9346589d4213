"""Has predictions run by peers: the best first, another where one fails before it has sent any output."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

import trio

from app.domain.peers import BACKEND, ELSEWHERE, MOST_TRIES, PREDICT, SETUP
from app.peers.messages import MessageStream, PeerFailed
from app.peers.node import Node
from app.peers.peer_table import Peer

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Asker:
    """A peer that says nothing for `silence` seconds has failed, so that `MOST_TRIES` times that passes at
    most before some peer's first sign, or the failure."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def predict(self, model: str, values: dict[str, Any], only: Collection[str], send: Send) -> None:
        """Sends `piece`, `failed` (of one peer) and `alive`, then one `done` or `error`."""
        request = {"model": model, "input": values}
        await send(await self._first_answer(request, only, send))

    async def describe(self, model: str, only: Collection[str]) -> dict[str, Any]:
        """The schemas of a model, as one of those that serve it has them. Raises PeerFailed."""

        async def ignore(message: dict[str, Any]) -> None:
            """Signs of life."""

        answer = await self._first_answer({"model": model, "describe": True}, only, ignore)
        if "error" in answer:
            raise PeerFailed(str(answer["error"]), str(answer["fault"]))
        return answer

    async def _first_answer(
        self, request: dict[str, Any], only: Collection[str], send: Send
    ) -> dict[str, Any]:
        model, tried = request["model"], list[str]()
        failure = PeerFailed(f"has no reachable peer that serves {model}")
        while len(tried) < MOST_TRIES:
            ranked = self._node.table.rank(model, only, trio.current_time())
            peer = next((self._node.table.peers[each] for each in ranked if each not in tried), None)
            if peer is None:
                break
            tried.append(peer.id)
            call = Call(self._node, peer, send)
            try:
                return await call.run(request)
            except PeerFailed as error:
                failure = PeerFailed(
                    f"peer {peer.capabilities.name or peer.id} {error.sentence}", error.fault
                )
                await send({"failed": peer.id, "reason": failure.sentence})
                if call.pieces or error.fault not in ELSEWHERE:
                    break
        return {"error": failure.sentence, "fault": failure.fault, "peer": tried[-1] if tried else ""}


class Call:
    """One prediction at one peer. `pieces`: how many of its output have been passed on."""

    def __init__(self, node: Node, peer: Peer, send: Send) -> None:
        self._node, self._peer = node, peer
        self._send = send
        self.pieces = 0

    async def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """The last message. Raises PeerFailed. Cancelled, it is canceled there."""
        self._peer.in_flight += 1
        messages: MessageStream | None = None
        try:
            messages = await self._node.open(self._peer.id, self._peer.addresses, PREDICT)
            answer = await self._read(messages, request)
        except PeerFailed as error:
            if error.fault == BACKEND:
                self._node.table.on_failure(self._peer, error.sentence)
            elif error.fault == SETUP:
                self._node.table.on_refusal(self._peer, error.sentence)
            if messages:
                await messages.reset()
            raise
        except trio.Cancelled:
            if messages:
                await say_cancel(messages)
            raise
        finally:
            self._peer.in_flight -= 1
        self._node.table.on_answer(self._peer)
        await messages.close()
        return {**answer, "peer": self._peer.id, "peer_name": self._peer.capabilities.name}

    async def _read(self, messages: MessageStream, request: dict[str, Any]) -> dict[str, Any]:
        silence = self._node.options.silence
        try:
            with trio.fail_after(silence) as limit:
                await messages.send(request)
                while True:
                    message = await messages.receive()
                    limit.deadline = trio.current_time() + silence
                    if message.get("done"):
                        return self._whole(message)
                    if "error" in message:
                        raise PeerFailed(str(message["error"])[:500], str(message.get("fault") or BACKEND))
                    await self._pass_on(message)
        except trio.TooSlowError:
            raise PeerFailed(f"said nothing for {silence:g} s") from None

    async def _pass_on(self, message: dict[str, Any]) -> None:
        if "piece" not in message:
            await self._send({"alive": True})
            return
        if message.get("number") != self.pieces:
            raise PeerFailed(f"sent piece {message.get('number')} in the place of {self.pieces}")
        await self._send({"piece": message["piece"]})
        self.pieces += 1

    def _whole(self, message: dict[str, Any]) -> dict[str, Any]:
        if message.get("pieces", 0) != self.pieces:
            raise PeerFailed(f"sent {self.pieces} of {message.get('pieces')} pieces")
        return message


async def say_cancel(messages: MessageStream) -> None:
    """Never raises."""
    with trio.move_on_after(1, shield=True):
        try:
            await messages.send({"cancel": True})
        except PeerFailed:
            return
        await messages.close()
