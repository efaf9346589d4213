"""One connected client: its messages in, its bounded queue out. Knows the services and no SQL."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from anyio.to_thread import run_sync
from pydantic import BaseModel, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.api.bodies import parse_json
from app.api.deps import Services, address_of
from app.api.problems import invalid_request
from app.api.websocket import messages as wire
from app.domain.errors import InvalidRequest, LovageError, TooMany, Unauthenticated, Unavailable, wrong_field
from app.domain.predictions import Prediction
from app.services.catalogue.runnable import parse_reference
from app.services.people.access import Principal
from app.services.predictions.submit import Submission
from app.services.predictions.subscriptions import Subscription

QUEUED = (
    256  # messages that wait for a slow client; news beyond are dropped, output waits in Redis and Postgres
)
AT_ONCE = 128  # predictions that one connection follows
UNAUTHENTICATED = 4401  # close code


class Session:
    """`run` until the client leaves."""

    def __init__(
        self, socket: WebSocket, services: Services, credential: str | None, caller: Principal, base: str
    ) -> None:
        self._socket, self._services, self._caller, self._base = socket, services, caller, base
        self._credential = credential
        self._address = address_of(socket)
        self._out: asyncio.Queue[BaseModel] = asyncio.Queue(QUEUED)
        self._sender: asyncio.Future[None]
        self._dropped = 0
        self._following: dict[str, asyncio.Task[None]] = {}
        self._to_cancel: set[str] = set()
        self._watcher = Subscription(caller.user_id, caller.is_operator, self._tell)

    async def run(self, client_id: str) -> None:
        """Takes messages until the client leaves or is silent for too long."""
        services = self._services
        self._sender = asyncio.ensure_future(self._send())
        services.subscriptions.join(self._watcher)
        await self._write(wire.WelcomeOut(client_id=client_id, username=self._caller.username))
        checker = asyncio.ensure_future(self._check_again_and_again(services.options.ws_recheck_seconds))
        try:
            await self._receive(services.options.ws_idle_seconds)
        finally:
            services.subscriptions.leave(self._watcher)
            for task in (self._sender, checker, *self._following.values()):
                task.cancel()
            services.disconnects.cancel_abandoned(list(self._to_cancel))

    async def _receive(self, idle: float) -> None:
        silent = 0
        while not self._sender.done():
            try:
                async with asyncio.timeout(idle / 3):
                    text = await next_text(self._socket)
            except TimeoutError:
                silent += 1
                if silent >= 3:
                    await self._socket.close(4408, "silent for too long")
                    return
                await self._write(wire.PingOut())
                continue
            silent = 0
            await self._take(text)

    async def _check_again_and_again(self, every: float) -> None:
        """Ends the connection when its credential is not valid any more: revoked, expired, or of a disabled
        user."""
        while True:
            await asyncio.sleep(every)
            with contextlib.suppress(
                Unavailable
            ):  # who calls cannot be told now; nobody is turned away for that
                try:
                    self._caller = await self._services.access.principal(self._credential)
                except Unauthenticated:
                    await self._socket.close(UNAUTHENTICATED, "the credential is not valid any more")
                    return
                self._watcher.is_operator = self._caller.is_operator

    async def _take(self, text: str) -> None:
        """One message; what is wrong with it is told, and the connection stays."""
        request_id = None
        try:
            found = parse_json(text.encode("utf-8", "replace"))
            if isinstance(found, dict) and isinstance(found.get("request_id"), str):
                request_id = found["request_id"][:64]
            message = wire.CLIENT.validate_python(found, strict=True)
            self._count(message)
            await HANDLERS[type(message)](self, message)
        except ValidationError as error:
            await self._fail(
                invalid_request(_without_tags(error.errors(include_url=False, include_input=False))),
                request_id,
            )
        except LovageError as error:
            await self._fail(error, request_id)

    def _count(self, message: Any) -> None:
        policy = "creates" if isinstance(message, wire.InferenceIn) else "calls"
        limits = self._services.limits
        limits.count(policy, str(self._caller.user_id) if self._caller.user_id else self._address)
        if self._caller.key_id:
            limits.count("key", str(self._caller.key_id))

    async def _fail(
        self, error: LovageError, request_id: str | None, prediction_id: str | None = None
    ) -> None:
        field = error.fields[0].field if isinstance(error, InvalidRequest) and error.fields else None
        await self._write(
            wire.ErrorOut(
                request_id=request_id,
                code=error.code,
                detail=error.detail.strip(),
                field=field,
                retry_after=error.retry_after,
                prediction_id=prediction_id,
            )
        )

    async def _write(self, message: BaseModel) -> None:
        """Waits while the client's queue is full: whoever produces for it is slowed down, nothing piles up.

        Raises WebSocketDisconnect when nobody sends any more: there will never be room.
        """
        if not self._out.full():
            self._out.put_nowait(message)
            return
        put = asyncio.ensure_future(self._out.put(message))
        try:
            await asyncio.wait((put, self._sender), return_when=asyncio.FIRST_COMPLETED)
            if not put.done():
                raise WebSocketDisconnect(1006)
        finally:
            put.cancel()

    def _tell(self, topic: str, data: dict[str, Any]) -> None:
        """News is dropped, and counted, rather than kept for a slow client."""
        if self._out.qsize() >= QUEUED // 2:
            self._dropped += 1
            return
        self._out.put_nowait(wire.EventOut(topic=topic, data=data, dropped=self._dropped))
        self._dropped = 0

    async def _send(self) -> None:
        with contextlib.suppress(
            WebSocketDisconnect
        ):  # the client is gone; `_receive` hears of it too, sooner or later
            while True:
                message = await self._out.get()
                await self._socket.send_text(message.model_dump_json(exclude_none=True))

    # What each message does

    async def _pong(self, message: Any) -> None:
        if isinstance(message, wire.PingIn):
            await self._write(wire.PongOut(request_id=message.request_id))

    async def _auth(self, message: wire.AuthIn) -> None:
        raise wrong_field("type", "this connection is authenticated already")

    async def _subscribe(self, message: Any) -> None:
        topics = set(message.topics)
        if isinstance(message, wire.SubscribeIn):
            self._watcher.topics |= topics
        else:
            self._watcher.topics -= topics
        self._services.subscriptions.changed(self._watcher)
        await self._write(
            wire.SubscribedOut(request_id=message.request_id, topics=sorted(self._watcher.topics))
        )

    async def _status(self, message: wire.StatusIn) -> None:
        if message.prediction_id:
            prediction = await self._own(message.prediction_id)
            place = await self._services.positions.position(prediction)
            shown = self._render(prediction) | ({"queue": place.as_json()} if place else {})
            await self._write(wire.StatusOut(request_id=message.request_id, prediction=shown))
            return
        census = await run_sync(self._services.health.census)
        platform = {"live_workers": len(census.workers), "waiting": census.waiting, "running": census.running}
        await self._write(wire.StatusOut(request_id=message.request_id, platform=platform))

    async def _own(self, prediction_id: str) -> Prediction:
        return await self._services.follower.own(self._caller.user_id, prediction_id)

    def _render(self, prediction: Prediction) -> dict[str, Any]:
        return self._services.view.render(prediction, self._base)

    async def _cancel(self, message: wire.CancelIn) -> None:
        prediction = await self._own(message.prediction_id)
        if not prediction.ended:
            lifecycle = self._services.lifecycle
            prediction = (await run_sync(lifecycle.cancel, [message.prediction_id]))[message.prediction_id]
        await self._write(wire.StatusOut(request_id=message.request_id, prediction=self._render(prediction)))

    async def _infer(self, message: wire.InferenceIn) -> None:
        self._caller.need("predict")
        if len(self._following) >= AT_ONCE:
            raise TooMany(f"One connection may have {AT_ONCE} predictions under way.", retry_after=1)
        version = await self._services.runnables.get(self._caller, parse_reference(message.model))
        asked = Submission(user_id=self._caller.user_id, version=version, input=message.inputs, source="ws")
        prediction = await self._services.submitter.submit(asked)
        if message.on_disconnect == "cancel":
            self._to_cancel.add(prediction.id)
        await self._write(
            wire.AcceptedOut(
                request_id=message.request_id, prediction_id=prediction.id, status=prediction.status
            )
        )
        task = self._following[prediction.id] = asyncio.ensure_future(self._follow(prediction, message))
        task.add_done_callback(lambda _: self._following.pop(prediction.id, None))

    async def _follow(self, prediction: Prediction, message: wire.InferenceIn) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            try:
                if message.stream:
                    await self._pieces(prediction.id, message.request_id)
                prediction = await self._services.follower.end_of(prediction)
            except LovageError as error:
                await self._fail(error, message.request_id, prediction.id)
                return
            self._to_cancel.discard(prediction.id)
            result = wire.ResultOut(
                request_id=message.request_id,
                prediction_id=prediction.id,
                status=prediction.status,
                prediction=self._render(prediction),
            )
            await self._write(result)

    async def _pieces(self, prediction_id: str, request_id: str | None) -> None:
        events = self._services.follower.stream(prediction_id)
        async with contextlib.aclosing(events) as opened:  # type: ignore[type-var]
            async for event in opened:
                if event.event == "output":
                    index = int(event.id.rpartition(":")[2])
                    await self._write(
                        wire.ChunkOut(
                            request_id=request_id, prediction_id=prediction_id, index=index, data=event.data
                        )
                    )


async def next_text(socket: WebSocket) -> str:
    """The next message; a binary one is read as text too. Raises WebSocketDisconnect."""
    message = await socket.receive()
    if message["type"] != "websocket.receive":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    return str(text) if text is not None else bytes(message["bytes"]).decode("utf-8", "replace")


def _without_tags(errors: Any) -> list[dict[str, Any]]:
    """pydantic puts the union's tag before the field's name."""
    return [{**one, "loc": one["loc"][1:] or ("type",)} for one in errors]


Handler = Callable[[Session, Any], Coroutine[Any, Any, None]]
HANDLERS: dict[type[BaseModel], Handler] = {
    wire.AuthIn: Session._auth,
    wire.InferenceIn: Session._infer,
    wire.CancelIn: Session._cancel,
    wire.SubscribeIn: Session._subscribe,
    wire.UnsubscribeIn: Session._subscribe,
    wire.StatusIn: Session._status,
    wire.PingIn: Session._pong,
    wire.PongIn: Session._pong,
}
