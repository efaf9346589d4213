"""Ollama's generate and chat: whole, or as lines of JSON."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from app.api.deps import caller_of
from app.api.error_shapes import ollama_shape
from app.api.model_calls.answer_stream import StreamForm, StreamWire, stream_answer
from app.api.model_calls.calls import Call, open_call, require_input, wait_for_all
from app.api.model_calls.chats import chat_input, fit_settings
from app.api.model_calls.edge_route import respond
from app.api.model_calls.failures import failure_of, refused
from app.api.model_calls.pictures import conversation_input
from app.api.model_calls.text_output import TextOutput, as_piece, finish_reason, read_output
from app.api.model_calls.tool_arguments import parsed_arguments
from app.api.ollama.errors import OllamaRoute, declared
from app.api.ollama.wire import OllamaChatIn, OllamaGenerateIn, TextIn
from app.domain.predictions import Prediction, Status
from app.services.predictions.stream_tail import StreamEvent

router = APIRouter(dependencies=[Depends(caller_of)], tags=["Ollama"], route_class=OllamaRoute)

NAMES = {
    "max_new_tokens": "options.num_predict",
    "json_schema": "format",
    "chat_template_kwargs": "think",
    "repetition_penalty": "options.repeat_penalty",
    **{name: f"options.{name}" for name in ("temperature", "top_p", "top_k", "min_p", "seed", "stop")},
    **{name: f"options.{name}" for name in ("presence_penalty", "frequency_penalty")},
}
NANOSECONDS = 1_000_000_000


class AnswerOut(BaseModel):
    """What both kinds of answers have; the counts and times (in nanoseconds) stand in the last line only."""

    model_config = ConfigDict(extra="allow")

    model: str
    created_at: str
    done: bool
    done_reason: str | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None


class OllamaGenerateOut(AnswerOut):
    """Ollama's answer to a prompt."""

    response: str
    thinking: str | None = None


class OllamaMessageOut(BaseModel):
    role: str = "assistant"
    content: str
    thinking: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class OllamaChatOut(AnswerOut):
    """Ollama's answer to a conversation."""

    message: OllamaMessageOut


STREAM: dict[str, Any] = {
    "description": "Unless `stream` is false, lines of JSON.",
    "content": {"application/x-ndjson": {}},
}


@router.post(
    "/api/generate",
    operation_id="ollama.generate",
    summary="Answer a prompt (Ollama)",
    response_model=None,
    responses={200: {"model": OllamaGenerateOut, **STREAM}, **declared(400, 401, 403, 404, 413, 415)},
)
async def generate(request: Request, body: OllamaGenerateIn) -> Response:
    """The answer to a prompt, through the model's chat template unless it is `raw`."""
    call = await open_call(request, body.model)
    values = body.text_input()
    require_input(call, *values)
    settings = fit_settings(call, body.settings(call.ignored), NAMES) | body.own_inputs(call)
    if "messages" in values:
        conversation = conversation_input(call, values["messages"])
        return await _answer(request, call, body, chat_input(call, conversation, settings))
    return await _answer(request, call, body, {**values, **settings})


@router.post(
    "/api/chat",
    operation_id="ollama.chat",
    summary="Continue a conversation (Ollama)",
    response_model=None,
    responses={200: {"model": OllamaChatOut, **STREAM}, **declared(400, 401, 403, 404, 413, 415)},
)
async def chat(request: Request, body: OllamaChatIn) -> Response:
    """The next message of a conversation, through the model's own chat template."""
    call = await open_call(request, body.model)
    require_input(call, "messages")
    settings = fit_settings(call, body.settings(call.ignored), NAMES) | body.own_inputs(call)
    conversation = conversation_input(call, body.conversation())
    return await _answer(request, call, body, chat_input(call, conversation, settings))


async def _answer(request: Request, call: Call, body: TextIn, values: dict[str, Any]) -> Response:
    if body.stream and not call.version.streams:
        raise refused("stream", f"{call.version.model} does not stream")
    predictions = await call.predict([values])
    answer = OllamaAnswer(body.model, is_chat=isinstance(body, OllamaChatIn))
    if body.is_streamed and call.version.streams:
        return await stream_answer(request, call, predictions, _form(call, predictions[0], answer))
    (prediction,) = await wait_for_all(request, call, predictions)
    return respond(200, answer.whole(prediction))


class OllamaAnswer:
    """One answer, whole or in pieces."""

    def __init__(self, model: str, *, is_chat: bool) -> None:
        self._model, self._is_chat = model, is_chat

    def whole(self, prediction: Prediction) -> dict[str, Any]:
        return self._line(read_output(prediction.output), done=True) | ending(prediction)

    def piece(self, piece: dict[str, Any]) -> dict[str, Any]:
        """One line of a stream."""
        now = TextOutput()
        now.add(piece)
        return self._line(now, done=False)

    def last(self, prediction: Prediction) -> dict[str, Any]:
        """The last line of a stream."""
        return self._line(TextOutput(), done=True) | ending(prediction)

    def _line(self, output: TextOutput, *, done: bool) -> dict[str, Any]:
        thoughts = {"thinking": output.reasoning} if output.reasoning else {}
        if self._is_chat:
            calls = [as_call(call) for call in output.tool_calls]
            message = {"role": "assistant", "content": output.content, **thoughts}
            content: dict[str, Any] = {"message": message | ({"tool_calls": calls} if calls else {})}
        else:
            content = {"response": output.content, **thoughts}
        if output.logprobs is not None:
            content["logprobs"] = [as_logprob(token) for token in output.logprobs]
        created = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return {"model": self._model, "created_at": created, **content, "done": done}


def as_call(call: dict[str, Any]) -> dict[str, Any]:
    """A tool call, its arguments as an object."""
    function = call["function"]
    return {
        "id": call["id"],
        "function": {"name": function["name"], "arguments": parsed_arguments(function["arguments"])},
    }


def as_logprob(token: dict[str, Any]) -> dict[str, Any]:
    """A token's log probability as Ollama shows it."""
    shown = {name: token[name] for name in ("token", "logprob", "bytes")}
    return {**shown, "top_logprobs": [dict(other) for other in token["top"]]} if token["top"] else shown


def ending(prediction: Prediction) -> dict[str, Any]:
    """Why and after how long it ended. What was waited for and loaded before it ran is `load_duration`."""
    metrics = prediction.metrics
    run = int(float(metrics.get("run", 0)) * NANOSECONDS)
    whole = run
    if prediction.completed_at is not None:
        passed = prediction.completed_at - prediction.created_at
        whole = max(run, int(passed.total_seconds() * NANOSECONDS))
    return {
        "done_reason": {"length": "length"}.get(finish_reason(prediction), "stop"),
        "total_duration": whole,
        "load_duration": whole - run,
        "prompt_eval_count": int(metrics.get("prompt_tokens", 0)),
        "prompt_eval_duration": 0,
        "eval_count": int(metrics.get("output_tokens", 0)),
        "eval_duration": run,
    }


def encode_line(line: dict[str, Any]) -> bytes:
    """One line on the wire."""
    return orjson.dumps(line) + b"\n"


WIRE = StreamWire(encode_line, ollama_shape, media_type="application/x-ndjson")


def _form(call: Call, prediction: Prediction, answer: OllamaAnswer) -> StreamForm:
    end = prediction

    async def each(_: int, event: StreamEvent) -> AsyncIterator[dict[str, Any]]:
        nonlocal end
        if event.event == "output":
            yield answer.piece(as_piece(event.value))
            return
        end = await call.services.follower.get(prediction.id)
        if end.status is not Status.SUCCEEDED:
            raise failure_of(end)

    async def last() -> list[dict[str, Any]]:
        return [answer.last(end)]

    return StreamForm([], each, last, WIRE)
