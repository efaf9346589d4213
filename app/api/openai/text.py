"""Completions and chat completions, plain and streamed."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.api.deps import caller_of
from app.api.model_calls.answer_stream import OPENAI_EVENTS, StreamForm, stream_answer
from app.api.model_calls.calls import Call, open_call, require_input, wait_for_all
from app.api.model_calls.chats import chat_input, fit_settings
from app.api.model_calls.edge_route import respond
from app.api.model_calls.failures import failure_of, refused
from app.api.model_calls.pictures import conversation_input
from app.api.model_calls.text_output import as_piece, finish_reason
from app.api.openai.chat_wire import ChatIn, ChatOut
from app.api.openai.errors import OpenAIRoute, declared
from app.api.openai.text_answer import TextAnswer, usage_as_json
from app.api.openai.text_wire import MOST_CHOICES, CompletionIn, CompletionOut, TextIn
from app.domain.predictions import Prediction, Status
from app.services.predictions.stream_tail import StreamEvent

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
    prompts = [prompt for prompt in body.prompts() for _ in range(body.tries)]
    settings = fit_settings(call, body.settings()) | body.own_inputs(call)
    inputs = [
        {"prompt": prompt, **with_seed_of(settings, number % body.tries)}
        for number, prompt in enumerate(prompts)
    ]
    prefixes = [prompt for prompt in prompts if isinstance(prompt, str)]
    return await _answer(
        request, call, body, inputs, prefixes if body.echo and "echo" not in settings else ()
    )


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
    conversation = conversation_input(call, body.conversation(call.ignored))
    settings = fit_settings(call, body.settings()) | body.own_inputs(call)
    inputs = [
        chat_input(call, conversation, with_seed_of(settings, number)) for number in range(body.choices)
    ]
    return await _answer(request, call, body, inputs, ())


def with_seed_of(settings: dict[str, Any], number: int) -> dict[str, Any]:
    """For the `number`th answer of one request: another seed for each, or all would be the same."""
    return {**settings, "seed": (settings["seed"] + number) % 2**32} if "seed" in settings else settings


async def _answer(
    request: Request, call: Call, body: TextIn, inputs: list[dict[str, Any]], prefixes: Sequence[str]
) -> Response:
    if len(inputs) > MOST_CHOICES:
        raise refused("n", f"prompts times n may be at most {MOST_CHOICES}")
    _check_stream(call, body)
    predictions = await call.predict(inputs)
    answer = TextAnswer(
        isinstance(body, ChatIn),
        body.model,
        predictions,
        prefixes,
        logprobs=body.wants_logprobs,
        older_calls=isinstance(body, ChatIn) and body.wants_older_calls,
    )
    if not body.stream:
        ended = await wait_for_all(request, call, predictions)
        tries = body.tries if isinstance(body, CompletionIn) else body.choices
        return respond(200, answer.whole(ended, body.choices, tries))
    usage = bool(body.stream_options and body.stream_options.include_usage)
    return await stream_answer(request, call, predictions, _form(call, predictions, answer, usage=usage))


def _check_stream(call: Call, body: TextIn) -> None:
    if body.stream_options and not body.stream:
        raise refused("stream_options", "is only allowed with `stream`")
    if body.stream_options and body.stream_options.continuous_usage_stats:
        raise refused("stream_options.continuous_usage_stats", "is not supported")
    if body.stream and not call.version.streams:
        raise refused("stream", f"{call.version.model} does not stream")


def _form(call: Call, predictions: list[Prediction], answer: TextAnswer, *, usage: bool) -> StreamForm:
    """The stream of a text answer; with `usage`, its last event has the tokens and every other one a null."""
    ends: dict[int, Prediction] = {}

    def with_usage(event: dict[str, Any]) -> dict[str, Any]:
        return {**event, "usage": None} if usage else event

    async def each(index: int, event: StreamEvent) -> AsyncIterator[dict[str, Any]]:
        if event.event == "output":
            yield with_usage(answer.piece(index, as_piece(event.value)))
            return
        end = ends[index] = await call.services.follower.get(predictions[index].id)
        if end.status is not Status.SUCCEEDED:
            raise failure_of(end)
        yield with_usage(answer.ending(index, finish_reason(end)))

    async def last() -> list[dict[str, Any]]:
        return [{**answer.event([]), "usage": usage_as_json(list(ends.values()))}] if usage else []

    numbers = range(len(predictions))
    first = {"content": ""}
    roles = [with_usage(answer.piece(index, first, role=True)) for index in numbers] if answer.chat else []
    echoes = [
        with_usage(answer.piece(index, {"content": answer.prefix(index)}))
        for index in numbers
        if answer.prefix(index)
    ]
    return StreamForm(roles + echoes, each, last, OPENAI_EVENTS)
