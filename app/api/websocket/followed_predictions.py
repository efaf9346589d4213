"""The predictions of one connection: created, followed to their ends, cancelled when the client leaves and
wished so. Knows the services and no SQL."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from anyio.to_thread import run_sync
from pydantic import BaseModel
from starlette.websockets import WebSocketDisconnect

from app.api.deps import Services
from app.api.websocket import messages as wire
from app.api.websocket.outgoing import Outgoing
from app.byte_budget import ByteBudget
from app.domain.errors import LovageError, TooMany, wrong_field
from app.domain.predictions import Prediction
from app.services.people.access import Principal
from app.services.predictions.follow import without_long_values
from app.services.predictions.stream_tail import StreamEvent
from app.services.predictions.submit import Submission

AT_ONCE = 128  # predictions that one connection follows


class FollowedPredictions:
    """Used from one event loop. `base`: the URL that links in predictions begin with. `unsent`: of long
    predictions that the user's clients have not taken yet."""

    def __init__(self, services: Services, outgoing: Outgoing, base: str, unsent: ByteBudget) -> None:
        self._services = services
        self._outgoing = outgoing
        self._base, self._unsent = base, unsent
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._to_cancel: set[str] = set()

    async def create(self, caller: Principal, message: wire.InferenceIn, size: int) -> None:
        """Writes `accepted`, later chunks and the result. `size` of the message in bytes. Raises Forbidden,
        TooMany, NotFound, InvalidRequest."""
        caller.need("predict")
        if len(self._tasks) >= AT_ONCE:
            raise TooMany(f"One connection may have {AT_ONCE} predictions under way.", retry_after=1)
        version = await self._services.model_names.runnable(caller, message.model)
        prediction = await self._services.submitter.submit(
            Submission(
                user_id=caller.user_id,
                version=version,
                input=as_input(message.inputs, version.input_schema),
                source="ws",
                request_id=message.request_id,
                size=size,
            )
        )
        if message.on_disconnect == "cancel":
            self._to_cancel.add(prediction.id)
        await self._outgoing.write(
            wire.AcceptedOut(
                request_id=message.request_id, prediction_id=prediction.id, status=prediction.status
            )
        )
        task = self._tasks[prediction.id] = asyncio.ensure_future(self._follow(prediction, message))
        task.add_done_callback(lambda _: self._tasks.pop(prediction.id, None))

    def stop(self) -> None:
        """The client has left."""
        for task in self._tasks.values():
            task.cancel()
        self._services.disconnects.cancel_abandoned(list(self._to_cancel))

    async def write_prediction(
        self, prediction: Prediction, as_message: Callable[[dict[str, Any]], BaseModel]
    ) -> None:
        """Writes the message made of the object that GET /v1/predictions/{id} answers. One that is long is
        read when its turn comes, and sent before the next is read: what a client does not take is held for
        its own user alone. Raises StorageFailed."""
        if not prediction.not_here:
            await self._outgoing.write(as_message(self._services.view.render(prediction, self._base)))
            return
        async with self._unsent.hold(prediction.size):
            await self._outgoing.write(as_message(await self._read_whole(prediction.id)))
            await self._outgoing.flush()

    async def _read_whole(self, prediction_id: str) -> dict[str, Any]:
        services = self._services
        prediction = await services.follower.get(prediction_id)
        async with services.follower.budget.hold(prediction.size):
            return dict(await run_sync(services.answers.read, prediction, self._base))

    async def _follow(self, prediction: Prediction, message: wire.InferenceIn) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            try:
                if message.stream:
                    await self._write_chunks(prediction.id, message.request_id)
                prediction = without_long_values(await self._services.follower.end_of(prediction))
                self._to_cancel.discard(prediction.id)
                await self._write_result(prediction, message.request_id)
            except LovageError as error:
                await self._outgoing.write_error(error, message.request_id, prediction.id)

    async def _write_result(self, prediction: Prediction, request_id: str | None) -> None:
        def as_message(shown: dict[str, Any]) -> BaseModel:
            return wire.ResultOut(
                request_id=request_id,
                prediction_id=prediction.id,
                status=prediction.status,
                prediction=shown,
            )

        await self.write_prediction(prediction, as_message)

    async def _write_chunks(self, prediction_id: str, request_id: str | None) -> None:
        events = self._services.follower.stream(prediction_id, base_url=self._base)
        async with contextlib.aclosing(events) as opened:  # type: ignore[type-var]
            async for event in opened:
                if message := as_message(event, prediction_id, request_id):
                    await self._outgoing.write(message)


def as_input(inputs: dict[str, Any] | str, schema: dict[str, Any]) -> dict[str, Any]:
    """A text alone is the first text input. Raises InvalidRequest where there is none."""
    if isinstance(inputs, dict):
        return inputs
    properties = sorted(schema.get("properties", {}).items(), key=lambda pair: pair[1].get("x-order", 0))
    for name, field in properties:
        if takes_text(field):
            return {name: inputs}
    raise wrong_field("inputs", "must be an object: this model takes no text")


def takes_text(field: dict[str, Any]) -> bool:
    """Whether an input may be a plain text."""
    choices = [field, *field.get("anyOf", ())]
    texts = [each for each in choices if each.get("type") == "string"]
    return any(not each.get("format") and "enum" not in each for each in texts)


def as_message(
    event: StreamEvent, prediction_id: str, request_id: str | None
) -> wire.ChunkOut | wire.RestartOut | None:
    """What the client receives of it; None for an end, which the result has."""
    if event.event == "restart":
        return wire.RestartOut(request_id=request_id, prediction_id=prediction_id)
    if event.event != "output":
        return None
    index = int(event.id.rpartition(":")[2])
    return wire.ChunkOut(request_id=request_id, prediction_id=prediction_id, index=index, data=event.data)
