"""Completions and chat completions, plain and streamed."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.api.deps import caller_of
from app.api.openai.answer_stream import StreamForm, stream_answer
from app.api.openai.calls import Call, open_call, require_input, wait_for_all
from app.api.openai.errors import OpenAIRoute, declared, failure_of, refused, respond
from app.api.openai.text_answer import TextAnswer, finish_reason, usage_as_json
from app.api.openai.text_wire import MOST_CHOICES, ChatIn, ChatOut, CompletionIn, CompletionOut, TextIn
from app.domain.predictions import Prediction, Status
from app.services.predictions.follow import StreamEvent

router = APIRouter(dependencies=[Depends(caller_of)], tags=["OpenAI"], route_class=OpenAIRoute)

STREAM: dict[str, Any] = {
    "description": "With `stream`, server-sent events.",
    "content": {"text/event-stream": {}},
}


@router.post(
    "/v1/completions",
    operation_id="openai.completions.create",
    summary="Continue a text (OpenAI)",
    response_model=None,
    responses={200: {"model": CompletionOut, **STREAM}, **declared(400, 401, 403, 404, 413, 415, 429)},
)
async def create_completion(request: Request, body: CompletionIn) -> Response:
    """OpenAI's legacy completions; `stream` for server-sent events."""
    call = await open_call(request, body.model)
    require_input(call, "prompt")
    times = body.n or 1
    prompts = [prompt for prompt in body.prompts() for _ in range(times)]
    settings = checked_settings(call, body) | body.own_inputs(call)
    inputs = [
        {"prompt": prompt, **with_seed_of(settings, number % times)} for number, prompt in enumerate(prompts)
    ]
    return await _answer(request, call, body, inputs, prompts if body.echo else (), chat=False)


@router.post(
    "/v1/chat/completions",
    operation_id="openai.chat.completions.create",
    summary="Continue a conversation (OpenAI)",
    response_model=None,
    responses={200: {"model": ChatOut, **STREAM}, **declared(400, 401, 403, 404, 413, 415, 429)},
)
async def create_chat_completion(request: Request, body: ChatIn) -> Response:
    """OpenAI's chat completions, through the model's own chat template; `stream` for server-sent events."""
    call = await open_call(request, body.model)
    require_input(call, "messages")
    conversation = body.conversation()
    settings = checked_settings(call, body) | body.own_inputs(call)
    inputs = [{"messages": conversation, **with_seed_of(settings, number)} for number in range(body.n or 1)]
    return await _answer(request, call, body, inputs, (), chat=True)


def checked_settings(call: Call, body: TextIn) -> dict[str, Any]:
    """The sampling parameters by our names. Raises InvalidRequest for one that the model does not have."""
    settings = body.settings()
    for name in settings:
        if name not in call.inputs():
            param = "max_tokens" if name == "max_new_tokens" else name
            raise refused(param, f"{call.version.model} does not take it")
    return settings


def with_seed_of(settings: dict[str, Any], number: int) -> dict[str, Any]:
    """For the `number`th answer of one request: another seed for each, or all would be the same."""
    return {**settings, "seed": (settings["seed"] + number) % 2**32} if "seed" in settings else settings


async def _answer(
    request: Request,
    call: Call,
    body: TextIn,
    inputs: list[dict[str, Any]],
    prefixes: Sequence[str],
    *,
    chat: bool,
) -> Response:
    if len(inputs) > MOST_CHOICES:
        raise refused("n", f"prompts times n may be at most {MOST_CHOICES}")
    if body.stream_options and not body.stream:
        raise refused("stream_options", "is only allowed with `stream`")
    if body.stream and not call.version.streams:
        raise refused("stream", f"{call.version.model} does not stream")
    predictions = await call.predict(inputs)
    answer = TextAnswer(chat, body.model, predictions, prefixes)
    if not body.stream:
        return respond(200, answer.whole(await wait_for_all(request, call, predictions)))
    usage = bool(body.stream_options and body.stream_options.include_usage)
    return await stream_answer(request, call, predictions, _form(call, predictions, answer, usage=usage))


def _form(call: Call, predictions: list[Prediction], answer: TextAnswer, *, usage: bool) -> StreamForm:
    """The stream of a text answer; with `usage`, its last event has the tokens and every other one a null."""
    ends: dict[int, Prediction] = {}

    def with_usage(event: dict[str, Any]) -> dict[str, Any]:
        return {**event, "usage": None} if usage else event

    async def each(index: int, event: StreamEvent) -> AsyncIterator[dict[str, Any]]:
        if event.event == "output":
            yield with_usage(answer.piece(index, event.data))
            return
        end = ends[index] = await call.services.follower.get(predictions[index].id)
        if end.status is not Status.SUCCEEDED:
            raise failure_of(end)
        yield with_usage(answer.piece(index, None, finish_reason(end)))

    async def last() -> list[dict[str, Any]]:
        return [{**answer.event([]), "usage": usage_as_json(list(ends.values()))}] if usage else []

    numbers = range(len(predictions))
    roles = [with_usage(answer.piece(index, "", role=True)) for index in numbers] if answer.chat else []
    echoes = [
        with_usage(answer.piece(index, answer.prefix(index))) for index in numbers if answer.prefix(index)
    ]
    return StreamForm(roles + echoes, each, last)
