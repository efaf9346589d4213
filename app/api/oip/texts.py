"""The generate extension: a text in, a text out, whole or as server-sent events."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response, StreamingResponse

from app.api.deps import caller_of
from app.api.error_shapes import oip_shape
from app.api.model_calls.answer_stream import COMMENT, StreamForm, StreamWire, encode_event, stream_answer
from app.api.model_calls.calls import Call, wait_for_all
from app.api.model_calls.edge_route import respond
from app.api.model_calls.failures import failure_of, refused
from app.api.model_calls.text_output import as_piece, read_output
from app.api.oip.calls import open_model_call, predict
from app.api.oip.errors import OipRoute, declared
from app.domain.predictions import Prediction, Status
from app.services.predictions.stream_tail import StreamEvent

router = APIRouter(dependencies=[Depends(caller_of)], tags=["OIP"], route_class=OipRoute)

TEXT_INPUTS = ("prompt", "text")  # the first that a model takes is what `text_input` is


class GenerateIn(BaseModel):
    """A text and, beside it or in `parameters`, the model's own inputs."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"text_input": "Celery is", "parameters": {"max_new_tokens": 16}}]},
    )

    id: str | None = Field(None, max_length=300, description="Comes back in the answer.")
    text_input: str = Field(max_length=1_000_000)
    parameters: dict[str, Any] = Field({}, max_length=100)
    stream: bool | None = Field(None, description="As the address says; any other value is refused.")

    def model_input(self, call: Call) -> dict[str, Any]:
        """Raises InvalidRequest for what is no input of the model."""
        own = {**(self.model_extra or {}), **self.parameters}
        if unknown := next((name for name in own if not call.takes(name)), None):
            raise refused(unknown[:100], f"is no input of {call.version.model}")
        name = next((name for name in TEXT_INPUTS if name in call.inputs()), None)
        if name is None:
            raise refused("model", f"{call.version.model} cannot be used here: it takes no text")
        return {**own, name: self.text_input}


class GenerateOut(BaseModel):
    """`text_output` is the whole text, or one piece of a stream."""

    id: str | None = None
    model_name: str
    model_version: str
    text_output: str


async def generate(request: Request, body: GenerateIn, model: str, version: str = "") -> Response:
    """The text that the model makes of `text_input`."""
    if body.stream:
        raise refused("stream", "must be false here: /generate_stream streams")
    call = await open_model_call(request, model, version)
    (prediction,) = await wait_for_all(request, call, [await predict(call, body.model_input(call))])
    return respond(200, {**_head(call, body, model), "text_output": read_output(prediction.output).content})


async def generate_stream(request: Request, body: GenerateIn, model: str, version: str = "") -> Response:
    """The same in pieces: server-sent events whose `data` are answers of `/generate`, each with one piece. An
    error in mid-stream is an event with `error`."""
    if body.stream is False:
        raise refused("stream", "must be true here: /generate does not stream")
    call = await open_model_call(request, model, version)
    prediction = await predict(call, body.model_input(call))
    form = _form(call, prediction, _head(call, body, model))
    return await stream_answer(request, call, [prediction], form)


def _head(call: Call, body: GenerateIn, model: str) -> dict[str, Any]:
    return {**({"id": body.id} if body.id else {}), "model_name": model, "model_version": call.version.id}


def _encode(line: dict[str, Any]) -> bytes:
    return encode_event(line) if line else b""


def _form(call: Call, prediction: Prediction, head: dict[str, Any]) -> StreamForm:
    sent = False

    async def each(_: int, event: StreamEvent) -> AsyncIterator[dict[str, Any]]:
        nonlocal sent
        if event.event == "output":
            sent = True
            yield {**head, "text_output": as_piece(event.value).get("content") or ""}
            return
        end = await call.services.follower.get(prediction.id)
        if end.status is not Status.SUCCEEDED:
            raise failure_of(end)
        if not sent:  # a model that does not stream: all at once
            whole = await call.services.follower.load(end)
            yield {**head, "text_output": read_output(whole.output).content}

    async def last() -> list[dict[str, Any]]:
        return []

    return StreamForm([], each, last, StreamWire(_encode, oip_shape, comment=COMMENT))


STREAM: dict[str, Any] = {"content": {"text/event-stream": {}}, "description": "Server-sent events."}
for _path, _part in (
    ("/v2/models/{model:path}/versions/{version}/generate", "oip.version.generate"),
    ("/v2/models/{model:path}/generate", "oip.generate"),
):
    for _suffix, _endpoint, _answer in (
        ("_stream", generate_stream, STREAM),
        ("", generate, {"model": GenerateOut}),
    ):
        router.add_api_route(
            f"{_path}{_suffix}",
            _endpoint,
            methods=["POST"],
            response_class=StreamingResponse if _suffix else JSONResponse,
            operation_id=_part + _suffix.replace("_", "."),
            summary="Stream a text" if _suffix else "Generate a text",
            response_model=None,
            responses={200: _answer, **declared(400, 401, 403, 404, 413, 415)},
        )
