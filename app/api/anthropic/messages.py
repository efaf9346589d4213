"""Anthropic's Messages: whole, and as the events that its clients assemble a message from."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel
from starlette.responses import Response

from app.api.anthropic.messages_wire import AnthropicMessageOut, MessagesIn
from app.api.deps import caller_of
from app.api.error_shapes import anthropic_shape
from app.api.model_calls.answer_stream import StreamForm, StreamWire, stream_answer
from app.api.model_calls.calls import Call, open_call, require_input, wait_for_all
from app.api.model_calls.chats import FIELDS, chat_input, fit_settings
from app.api.model_calls.edge_route import edge_route, respond
from app.api.model_calls.failures import failure_of, refused
from app.api.model_calls.pictures import conversation_input
from app.api.model_calls.text_output import as_piece, count_tokens, finish_reason, read_output
from app.api.model_calls.tool_arguments import parsed_arguments
from app.domain.predictions import Prediction, Status
from app.services.predictions.stream_tail import StreamEvent

router = APIRouter(
    dependencies=[Depends(caller_of)], tags=["Anthropic"], route_class=edge_route(anthropic_shape)
)

NAMES = {**FIELDS, "stop": "stop_sequences", "chat_template_kwargs": "thinking"}
REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
# A block of a stream: the type of its deltas, and the member that they have.
DELTAS = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}


class AnthropicErrorDetailOut(BaseModel):
    type: str
    message: str


class AnthropicErrorOut(BaseModel):
    """Anthropic's error."""

    type: str = "error"
    error: AnthropicErrorDetailOut


def declared(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation that may answer with these errors."""
    return {
        code: {"description": "An error.", "model": AnthropicErrorOut}
        for code in sorted({*codes, 429, 500, 503})
    }


@router.post(
    "/v1/messages",
    operation_id="anthropic.messages.create",
    summary="Continue a conversation (Anthropic)",
    response_model=None,
    responses={
        200: {
            "model": AnthropicMessageOut,
            "description": "With `stream`, server-sent events.",
            "content": {"text/event-stream": {}},
        },
        **declared(400, 401, 403, 404, 413, 415),
    },
)
async def create_message(request: Request, body: MessagesIn) -> Response:
    """Anthropic's Messages API, through the model's own chat template; `stream` for server-sent events."""
    call = await open_call(request, body.model)
    require_input(call, "messages")
    if body.stream and not call.version.streams:
        raise refused("stream", f"{call.version.model} does not stream")
    settings = fit_settings(call, body.settings(), NAMES) | body.own_inputs(call)
    conversation = conversation_input(call, body.conversation())
    predictions = await call.predict([chat_input(call, conversation, settings)])
    if body.stream:
        return await stream_answer(request, call, predictions, _form(call, predictions, body.model))
    (prediction,) = await wait_for_all(request, call, predictions)
    return respond(200, whole_message(body.model, prediction))


def message_id(prediction: Prediction) -> str:
    return f"msg_{prediction.id}"


def whole_message(model: str, prediction: Prediction) -> dict[str, Any]:
    """The answer of a request that is not streamed."""
    output = read_output(prediction.output)
    content: list[dict[str, Any]] = []
    if output.reasoning:
        content.append({"type": "thinking", "thinking": output.reasoning, "signature": ""})
    if output.content or not output.tool_calls:
        content.append({"type": "text", "text": output.content})
    content += [
        {**tool_block(call), "input": parsed_arguments(call["function"]["arguments"])}
        for call in output.tool_calls
    ]
    read, written = count_tokens([prediction])
    return {
        "id": message_id(prediction),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        **stop_of(prediction),
        "usage": {"input_tokens": read, "output_tokens": written},
    }


def tool_block(call: dict[str, Any]) -> dict[str, Any]:
    """A tool call's block at its beginning."""
    return {"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": {}}


def stop_of(prediction: Prediction) -> dict[str, Any]:
    """Why the answer ended, and the stop sequence that it met."""
    stop = prediction.metrics.get("stop")
    reason = "stop_sequence" if stop else REASONS.get(finish_reason(prediction), "end_turn")
    return {"stop_reason": reason, "stop_sequence": stop}


class MessageEvents:
    """Makes a stream's events of the pieces of an answer: a block begins when its kind of piece comes, and
    ends when another does."""

    def __init__(self) -> None:
        self._kind = ""
        self._index = -1

    def add_piece(self, piece: dict[str, Any]) -> list[dict[str, Any]]:
        """The events that a piece brings."""
        events: list[dict[str, Any]] = []
        if thoughts := piece.get("reasoning_content"):
            events += self._text("thinking", thoughts)
        if text := piece.get("content"):
            events += self._text("text", text)
        for call in piece.get("tool_calls") or ():
            arguments = {"type": "input_json_delta", "partial_json": call["function"]["arguments"]}
            events += [*self._begin("tool_use", tool_block(call)), self._delta(arguments)]
        return events

    def _text(self, kind: str, text: str) -> list[dict[str, Any]]:
        delta, member = DELTAS[kind]
        begin = self._begin(kind, {"type": kind, member: ""}) if self._kind != kind else []
        return [*begin, self._delta({"type": delta, member: text})]

    def _begin(self, kind: str, block: dict[str, Any]) -> list[dict[str, Any]]:
        events = self.end_block()
        self._kind = kind
        self._index += 1
        return [*events, {"type": "content_block_start", "index": self._index, "content_block": block}]

    def _delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def end_block(self) -> list[dict[str, Any]]:
        """The end of the block that is open, if one is."""
        if not self._kind:
            return []
        self._kind = ""
        return [{"type": "content_block_stop", "index": self._index}]


def encode_event(event: dict[str, Any]) -> bytes:
    """One event on the wire; its name is its type."""
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"


WIRE = StreamWire(encode_event, anthropic_shape, comment=encode_event({"type": "ping"}))


def _form(call: Call, predictions: Sequence[Prediction], model: str) -> StreamForm:
    events, end = MessageEvents(), predictions[0]

    async def each(_: int, event: StreamEvent) -> AsyncIterator[dict[str, Any]]:
        nonlocal end
        if event.event == "output":
            for line in events.add_piece(as_piece(event.value)):
                yield line
            return
        end = await call.services.follower.get(predictions[0].id)
        if end.status is not Status.SUCCEEDED:
            raise failure_of(end)

    async def last() -> list[dict[str, Any]]:
        read, written = count_tokens([end])
        usage = {"input_tokens": read, "output_tokens": written}
        ending = {"type": "message_delta", "delta": stop_of(end), "usage": usage}
        return [*events.end_block(), ending, {"type": "message_stop"}]

    message: dict[str, Any] = {
        "id": message_id(predictions[0]),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }
    return StreamForm([{"type": "message_start", "message": message}, {"type": "ping"}], each, last, WIRE)
