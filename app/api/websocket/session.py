"""One connected client: its messages, what each of them does, its topics. Knows the services and no SQL."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from anyio.to_thread import run_sync
from pydantic import BaseModel, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.api.bodies import parse_beside
from app.api.deps import Services, address_of
from app.api.problems import invalid_request
from app.api.websocket import messages as wire
from app.api.websocket.followed_predictions import FollowedPredictions
from app.api.websocket.outgoing import Outgoing
from app.domain.errors import LovageError, Unauthenticated, Unavailable, wrong_field
from app.domain.predictions import Prediction
from app.services.people.access import Principal
from app.services.people.login_tries import network_of
from app.services.predictions.follow import without_long_values
from app.services.predictions.subscriptions import Subscription

UNAUTHENTICATED = 4401  # close code
SILENT = 4408  # close code
SILENT_PARTS = 3  # a ping is sent after each part of the longest silence but the last


class Session:
    """`run` until the client leaves."""

    def __init__(
        self, socket: WebSocket, services: Services, credential: str | None, caller: Principal, base: str
    ) -> None:
        self._socket = socket
        self._services = services
        self._credential = credential
        self._caller = caller
        self._owner = str(caller.user_id) if caller.user_id else network_of(address_of(socket))
        self._size = 0  # bytes of the message that is being handled
        self.outgoing = Outgoing(socket)
        unsent = services.unsent.budget_of(self._owner)
        self._predictions = FollowedPredictions(services, self.outgoing, base, unsent)
        self._subscription = Subscription(caller.user_id, caller.is_operator, self.outgoing.write_event)

    async def run(self, client_id: str) -> None:
        """Reads messages until the client leaves or is silent for too long."""
        services = self._services
        self.outgoing.start()
        services.subscriptions.join(self._subscription)
        await self.outgoing.write(wire.WelcomeOut(client_id=client_id, username=self._caller.username))
        checker = asyncio.ensure_future(self._check_credential(services.options.ws_recheck_seconds))
        try:
            await self._receive(services.options.ws_idle_seconds)
        finally:
            services.subscriptions.leave(self._subscription)
            self.outgoing.stop()
            checker.cancel()
            self._predictions.stop()

    async def _receive(self, idle_seconds: float) -> None:
        silent_parts = 0
        while not self.outgoing.is_broken:
            try:
                async with asyncio.timeout(idle_seconds / SILENT_PARTS):
                    text = await next_text(self._socket)
            except TimeoutError:
                silent_parts += 1
                if silent_parts >= SILENT_PARTS:
                    await self._socket.close(SILENT, "silent for too long")
                    return
                await self.outgoing.write(wire.PingOut())
                continue
            silent_parts = 0
            await self._on_text(text)

    async def _check_credential(self, every_seconds: float) -> None:
        """Ends the connection when its credential is not valid any more: revoked, expired, or of a disabled
        user."""
        while True:
            await asyncio.sleep(every_seconds)
            with contextlib.suppress(Unavailable):  # it cannot be checked now, which is nobody's fault
                try:
                    self._caller = await self._services.people.access.principal(self._credential)
                except Unauthenticated:
                    await self._socket.close(UNAUTHENTICATED, "the credential is not valid any more")
                    return
                self._subscription.is_operator = self._caller.is_operator

    async def _on_text(self, text: str) -> None:
        """One message; what is wrong with it is answered with an error, and the connection stays."""
        request_id = None
        try:
            content = text.encode("utf-8", "replace")
            self._size = len(content)
            body = await parse_beside(self._services.bodies, content)
            if isinstance(body, dict) and isinstance(body.get("request_id"), str):
                request_id = body["request_id"][:64]
            message = wire.CLIENT.validate_python(body, strict=True)
            self._count(message)
            await HANDLERS[type(message)](self, message)
        except ValidationError as error:
            errors = _without_tags(error.errors(include_url=False, include_input=False))
            await self.outgoing.write_error(invalid_request(errors), request_id)
        except LovageError as error:
            await self.outgoing.write_error(error, request_id)

    def _count(self, message: Any) -> None:
        policy = "creates" if isinstance(message, wire.InferenceIn) else "calls"
        limits = self._services.limits
        limits.count(policy, self._owner)
        if self._caller.key_id:
            limits.count("key", str(self._caller.key_id))

    # What each message does

    async def _on_ping(self, message: wire.PingIn) -> None:
        await self.outgoing.write(wire.PongOut(request_id=message.request_id))

    async def _on_pong(self, message: wire.PongIn) -> None:
        """The client has answered a ping, so it is not silent."""

    async def _on_auth(self, message: wire.AuthIn) -> None:
        raise wrong_field("type", "this connection is authenticated already")

    async def _on_subscribe(self, message: wire.SubscribeIn) -> None:
        self._subscription.topics |= set(message.topics)
        await self._answer_topics(message.request_id)

    async def _on_unsubscribe(self, message: wire.UnsubscribeIn) -> None:
        self._subscription.topics -= set(message.topics)
        await self._answer_topics(message.request_id)

    async def _answer_topics(self, request_id: str | None) -> None:
        self._services.subscriptions.changed(self._subscription)
        topics: Any = sorted(self._subscription.topics)
        await self.outgoing.write(wire.SubscribedOut(request_id=request_id, topics=topics))

    async def _on_status(self, message: wire.StatusIn) -> None:
        if message.prediction_id:
            prediction = without_long_values(await self._own(message.prediction_id))
            position = await self._services.positions.position(prediction)
            more = {"queue": position.as_json()} if position else {}
            await self._write_status(prediction, message.request_id, more)
            return
        census = await run_sync(self._services.health.census)
        counts = {"waiting": census.waiting, "claimed": census.claimed, "running": census.running}
        platform = {"live_workers": len(census.workers), **counts}
        await self.outgoing.write(wire.StatusOut(request_id=message.request_id, platform=platform))

    async def _own(self, prediction_id: str) -> Prediction:
        return await self._services.follower.own(self._caller.user_id, prediction_id)

    async def _on_cancel(self, message: wire.CancelIn) -> None:
        prediction = await self._own(message.prediction_id)
        if not prediction.ended:
            lifecycle = self._services.lifecycle
            prediction = (await run_sync(lifecycle.cancel, [message.prediction_id]))[message.prediction_id]
        await self._write_status(without_long_values(prediction), message.request_id, {})

    async def _write_status(
        self, prediction: Prediction, request_id: str | None, more: dict[str, Any]
    ) -> None:
        await self._predictions.write_prediction(
            prediction, lambda shown: wire.StatusOut(request_id=request_id, prediction=shown | more)
        )

    async def _on_inference(self, message: wire.InferenceIn) -> None:
        await self._predictions.create(self._caller, message, self._size)


async def next_text(socket: WebSocket) -> str:
    """The next message; a binary one is read as text too. Raises WebSocketDisconnect."""
    message = await socket.receive()
    if message["type"] != "websocket.receive":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    return str(text) if text is not None else bytes(message["bytes"]).decode("utf-8", "replace")


def _without_tags(errors: Any) -> list[dict[str, Any]]:
    """pydantic puts the union's tag before the field's name."""
    return [{**error, "loc": error["loc"][1:] or ("type",)} for error in errors]


Handler = Callable[[Session, Any], Coroutine[Any, Any, None]]
HANDLERS: dict[type[BaseModel], Handler] = {
    wire.AuthIn: Session._on_auth,
    wire.InferenceIn: Session._on_inference,
    wire.CancelIn: Session._on_cancel,
    wire.SubscribeIn: Session._on_subscribe,
    wire.UnsubscribeIn: Session._on_unsubscribe,
    wire.StatusIn: Session._on_status,
    wire.PingIn: Session._on_ping,
    wire.PongIn: Session._on_pong,
}
