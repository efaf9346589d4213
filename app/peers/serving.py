"""Runs peers' predictions on this platform, through its own API."""

from typing import Any

import trio

from app.domain.peers import BEAT_SECONDS, BUSY, INPUT, SETUP
from app.peers.local_api import LocalApi
from app.peers.messages import MessageStream, PeerFailed
from app.peers.node import Node, report

MODELS_SECONDS = 5.0  # between looks at what this platform has


class Server:
    """`keep_models` once; `on_prediction` is called for each stream of a peer that wants something run."""

    def __init__(self, node: Node) -> None:
        self._node, options = node, node.options
        self._api = LocalApi(options.api_url, options.api_key, options.models) if options.api_key else None

    async def keep_models(self) -> None:
        """Until it is cancelled: what is offered is what the platform has."""
        failure = ""
        while self._api is not None:
            try:
                self._node.offered, failure = await self._api.list_models(), ""
            except PeerFailed as error:
                self._node.offered = ()
                if error.sentence != failure:
                    report("platform_away", reason=error.sentence)
                failure = error.sentence
            await trio.sleep(MODELS_SECONDS)

    async def on_prediction(self, stream: Any) -> None:
        """One message says what is wanted; the last of the answer says `done` or `error`. It never raises:
        libp2p would end the node."""
        messages = MessageStream(stream)
        if not self._node.is_allowed(messages.peer):
            await messages.reset()
            return
        try:
            with trio.fail_after(self._node.options.silence):
                request = await messages.receive()
            await self._answer(messages, request)
            await messages.close()
        except (trio.TooSlowError, PeerFailed):
            await messages.reset()

    async def _answer(self, messages: MessageStream, request: dict[str, Any]) -> None:
        try:
            answer = await self._run(messages, request)
        except PeerFailed as error:
            answer = {"error": error.sentence, "fault": error.fault}
        await messages.send(answer)

    async def _run(self, messages: MessageStream, request: dict[str, Any]) -> dict[str, Any]:
        """The last message. Raises PeerFailed."""
        model, values = str(request.get("model")), request.get("input")
        if self._api is None or model.partition(":")[0] not in {each.name for each in self._node.offered}:
            raise PeerFailed(f"does not offer {model[:200]}", SETUP)
        if request.get("describe"):
            return {**await self._api.describe(model), "done": True}
        if not isinstance(values, dict):
            raise PeerFailed("was sent no input", INPUT)
        if self._node.running >= self._node.options.limit:
            raise PeerFailed(f"has {self._node.running} predictions of peers already", BUSY)
        self._node.running += 1
        try:
            return await self._run_here(self._api, messages, model, values)
        finally:
            self._node.running -= 1

    async def _run_here(
        self, api: LocalApi, messages: MessageStream, model: str, values: dict[str, Any]
    ) -> dict[str, Any]:
        ending: dict[str, Any] = {}
        failures = list[PeerFailed]()
        sent = 0

        async def send_piece(piece: Any) -> None:
            nonlocal sent
            await messages.send({"piece": piece, "number": sent})
            sent += 1

        async with trio.open_nursery() as nursery:
            # A nursery would wrap what its tasks raise into a group.
            async def guarded(work: Any, *arguments: Any) -> None:
                try:
                    await work(*arguments)
                except PeerFailed as error:
                    failures.append(error)
                    nursery.cancel_scope.cancel()

            async def watch() -> None:
                await wait_for_cancel(messages)
                failures.append(PeerFailed("was canceled by whoever asked"))
                nursery.cancel_scope.cancel()

            nursery.start_soon(guarded, beat, messages)
            nursery.start_soon(watch)
            await guarded(self._put_ending, api, model, values, send_piece, ending)
            nursery.cancel_scope.cancel()
        if failures:
            raise failures[0]
        return ending

    async def _put_ending(
        self, api: LocalApi, model: str, values: dict[str, Any], send_piece: Any, ending: dict[str, Any]
    ) -> None:
        ending |= await api.run(model, values, send_piece)


async def beat(messages: MessageStream) -> None:
    """Signs of life. Raises PeerFailed when nobody takes them any more."""
    while True:
        await messages.send({"alive": True})
        await trio.sleep(BEAT_SECONDS)


async def wait_for_cancel(messages: MessageStream) -> None:
    """Answers when the peer says so. One that only stops sending may still read; whether it does shows in
    `beat`."""
    try:
        while not (await messages.receive()).get("cancel"):
            pass
    except PeerFailed:
        await trio.sleep_forever()
