"""OpenAI's Responses: each is one prediction, under the id `resp_` and the prediction's own."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from app.api.deps import caller_of, note, services_of
from app.api.model_calls.answer_stream import StreamForm, stream_answer
from app.api.model_calls.calls import Call, open_call, require_input, wait_for_all
from app.api.model_calls.chats import chat_input, fit_settings
from app.api.model_calls.edge_route import respond
from app.api.model_calls.failures import refused
from app.api.model_calls.pictures import conversation_input, with_pictures
from app.api.model_calls.text_output import as_piece, count_tokens, finish_reason, read_output
from app.api.model_calls.tool_arguments import parsed_arguments
from app.api.openai.errors import OpenAIRoute, declared
from app.api.openai.response_events import WIRE, ResponseEvents, output_items
from app.api.openai.responses_wire import ResponsesIn, without_instructions
from app.domain.errors import NotFound
from app.domain.predictions import RESPONSE, Prediction, Status
from app.domain.versions import RunnableVersion
from app.services.predictions.follow import with_data
from app.services.predictions.stream_tail import StreamEvent

After = Annotated[int | None, Query(ge=0, description="The number of the last event that was seen.")]
router = APIRouter(dependencies=[Depends(caller_of)], tags=["OpenAI"], route_class=OpenAIRoute)

PREFIX = "resp_"
NAMES = {
    "max_new_tokens": "max_output_tokens",
    "json_schema": "text",
    "chat_template_kwargs": "reasoning",
    "logprobs": "top_logprobs",
}
STATUSES = {
    Status.STARTING: "queued",
    Status.PROCESSING: "in_progress",
    Status.SUCCEEDED: "completed",
    Status.FAILED: "failed",
    Status.CANCELED: "cancelled",
}


class ResponseOut(BaseModel):
    """OpenAI's response."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: Literal["response"] = "response"
    created_at: float
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    incomplete_details: dict[str, Any] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    metadata: dict[str, str] = {}
    background: bool = False


class ResponseDeletedOut(BaseModel):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


STREAM: dict[str, Any] = {
    "description": "With `stream`, server-sent events.",
    "content": {"text/event-stream": {}},
}
CREATED = {200: {"model": ResponseOut, **STREAM}, **declared(400, 401, 403, 404, 413, 415, 429)}


@router.post(
    "/v1/responses",
    operation_id="openai.responses.create",
    summary="Create a response (OpenAI)",
    response_model=None,
    responses=CREATED,
)
async def create_response(request: Request, body: ResponsesIn) -> Response:
    """OpenAI's Responses, through the model's own chat template. `background` answers at once; the response
    goes on, and is there under its id."""
    call = await open_call(request, body.model)
    require_input(call, "messages")
    _check(call, body)
    turns = body.turns(await _earlier(call, body.previous_response_id))
    settings = fit_settings(call, body.settings(call.ignored), NAMES) | body.own_inputs(call)
    predictions = await call.predict(
        [chat_input(call, conversation_input(call, turns), settings)], response=body.kept()
    )
    if body.stream:
        form = await _form(call, predictions[0], background=bool(body.background))
        return await stream_answer(request, call, predictions, form)
    if body.background:
        return respond(200, await _shown(call, predictions[0]))
    (prediction,) = await wait_for_all(request, call, predictions)
    return respond(200, await _shown(call, prediction))


def _check(call: Call, body: ResponsesIn) -> None:
    if body.stream_options and not body.stream:
        raise refused("stream_options", "is only allowed with `stream`")
    if body.stream and not call.version.streams:
        raise refused("stream", f"{call.version.model} does not stream")
    if body.background and body.store is False:
        raise refused("background", "needs `store`: nobody could retrieve the response")


@router.get(
    "/v1/responses/{response_id}",
    operation_id="openai.responses.retrieve",
    summary="Get a response (OpenAI)",
    response_model=None,
    responses=CREATED,
)
async def retrieve_response(
    request: Request,
    response_id: str,
    stream: bool = False,
    starting_after: After = None,
) -> Response:
    """A response as it is now; with `stream`, all its events from the beginning, or those after one."""
    call, prediction = await _stored(request, response_id)
    if not stream:
        return respond(200, await _shown(call, prediction))
    after = -1 if starting_after is None else starting_after
    form = await _form(call, prediction, background=True, after=after)
    return await stream_answer(request, call, [prediction], form)


@router.post(
    "/v1/responses/{response_id}/cancel",
    operation_id="openai.responses.cancel",
    summary="Cancel a response (OpenAI)",
    response_model=None,
    responses={200: {"model": ResponseOut}, **declared(401, 403, 404)},
)
async def cancel_response(request: Request, response_id: str) -> Response:
    """One that waits never starts, one that runs stops at its next step, one that has ended stays as it
    is."""
    call, prediction = await _stored(request, response_id)
    if not prediction.ended:
        canceled = await run_sync(call.services.lifecycle.cancel, [prediction.id])
        prediction = canceled[prediction.id]
    return respond(200, await _shown(call, prediction))


@router.delete(
    "/v1/responses/{response_id}",
    operation_id="openai.responses.delete",
    summary="Delete a response (OpenAI)",
    response_model=None,
    responses={200: {"model": ResponseDeletedOut}, **declared(401, 403, 404, 409)},
)
async def delete_response(request: Request, response_id: str) -> Response:
    """Removes the data of its prediction, which must have ended."""
    call, prediction = await _stored(request, response_id)
    await run_sync(call.services.removal.remove, prediction)
    note(request, await caller_of(request), "prediction.data_removed", prediction.id)
    return respond(200, ResponseDeletedOut(id=response_id).model_dump())


async def _stored(request: Request, response_id: str) -> tuple[Call, Prediction]:
    """A response of the caller's. Raises NotFound."""
    services, caller = services_of(request), await caller_of(request)
    caller.need("predict")
    prediction = await services.follower.own(caller.user_id, response_id.removeprefix(PREFIX))
    if "hidden" in kept_of(prediction) or prediction.data_removed_at is not None:
        raise NotFound("The requested response could not be found.")
    version = RunnableVersion(prediction.version_id, prediction.model, {}, prediction.stream)
    return Call(request, services, caller, version, []), prediction


def kept_of(prediction: Prediction) -> dict[str, Any]:
    """What the record of a response keeps beside its input. Raises NotFound for another prediction."""
    kept = (prediction.routing or {}).get(RESPONSE)
    if not isinstance(kept, dict):
        raise NotFound("The requested response could not be found.")
    return kept


async def _earlier(call: Call, response_id: str | None) -> list[dict[str, Any]]:
    """The conversation of an earlier response with its answer. Raises InvalidRequest, NotFound."""
    if response_id is None:
        return []
    stored, prediction = await _stored(call.request, response_id)
    if prediction.status is not Status.SUCCEEDED:
        raise refused("previous_response_id", f"is a response that is {STATUSES[prediction.shown_status]}")
    values = await _input(stored, prediction)
    _, turns = without_instructions(with_pictures(values), kept_of(prediction).get("instructions", 0))
    whole = await stored.services.follower.load(with_data(prediction))
    output = read_output(whole.output)
    turn: dict[str, Any] = {"role": "assistant", "content": output.content}
    if output.reasoning:
        turn["reasoning_content"] = output.reasoning
    if output.tool_calls:
        turn["tool_calls"] = [_as_history(tool_call) for tool_call in output.tool_calls]
    return [*turns, turn]


def _as_history(tool_call: dict[str, Any]) -> dict[str, Any]:
    function = tool_call["function"]
    arguments = parsed_arguments(function["arguments"])
    return {
        "id": tool_call["id"],
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }


async def _input(call: Call, prediction: Prediction) -> dict[str, Any]:
    """The model's input, wherever it is."""
    stored = call.services.answers.stored
    return await run_sync(stored.whole_input, prediction.input, prediction.input_key)


async def _shown(call: Call, prediction: Prediction) -> dict[str, Any]:
    whole = await call.services.follower.load(prediction) if prediction.ended else prediction
    items = output_items(prediction.id, whole.output) if prediction.ended else []
    return response_as_json(prediction, await _input(call, prediction), items)


def response_as_json(
    prediction: Prediction, values: dict[str, Any], items: list[dict[str, Any]]
) -> dict[str, Any]:
    """The response; `values` is the model's input."""
    kept = kept_of(prediction)
    instructions, _ = without_instructions(values.get("messages") or [], kept.get("instructions", 0))
    return {
        "id": PREFIX + prediction.id,
        "object": "response",
        "created_at": int(prediction.created_at.timestamp()),
        **ending_of(prediction),
        "instructions": instructions,
        "model": kept.get("model", prediction.model),
        "output": items,
        "previous_response_id": kept.get("previous"),
        "metadata": kept.get("metadata", {}),
        "background": bool(kept.get("background")),
        "store": "hidden" not in kept,
        "max_output_tokens": values.get("max_new_tokens"),
        "temperature": values.get("temperature"),
        "top_p": values.get("top_p"),
        "text": {"format": format_of(values)},
        "tools": [tool_as_json(tool) for tool in values.get("tools") or ()],
        "tool_choice": choice_of(values),
        "parallel_tool_calls": values.get("parallel_tool_calls", True),
        "reasoning": {"effort": None, "summary": None},
        "truncation": "disabled",
    }


def ending_of(prediction: Prediction) -> dict[str, Any]:
    """Its status, and what goes with it."""
    status: str = STATUSES[prediction.shown_status]
    error: dict[str, Any] | None = None
    details: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    if prediction.status is Status.SUCCEEDED:
        read, written = count_tokens([prediction])
        usage = {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + written,
        }
        if finish_reason(prediction) == "length":
            status, details = "incomplete", {"reason": "max_output_tokens"}
    if prediction.status is Status.FAILED:
        code = "invalid_prompt" if prediction.error_code == "invalid_input" else "server_error"
        error = {"code": code, "message": prediction.error or "The prediction failed."}
    return {"status": status, "error": error, "incomplete_details": details, "usage": usage}


def format_of(values: dict[str, Any]) -> dict[str, Any]:
    """What the answer was asked to be."""
    schema = values.get("json_schema")
    if schema is None:
        return {"type": "text"}
    if schema == {"type": "object"}:
        return {"type": "json_object"}
    return {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}


def tool_as_json(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool as this API writes it."""
    function = tool["function"]
    return {
        "type": "function",
        "name": function["name"],
        "description": function.get("description"),
        "parameters": function.get("parameters"),
        "strict": False,
    }


def choice_of(values: dict[str, Any]) -> Any:
    """Which tool had to be called."""
    choice = values.get("tool_choice", "auto")
    return choice if choice in ("auto", "none", "required") else {"type": "function", "name": choice}


async def _form(call: Call, prediction: Prediction, *, background: bool, after: int = -1) -> StreamForm:
    """The events of a response, those up to number `after` left out."""
    events, end = ResponseEvents(prediction.id), prediction
    values = await _input(call, prediction)

    def unseen(numbered: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [event for event in numbered if event["sequence_number"] > after]

    async def each(_: int, event: StreamEvent) -> AsyncIterator[dict[str, Any]]:
        nonlocal end
        if event.event != "output":
            end = await call.services.follower.get(prediction.id)
            return
        for line in unseen(events.add_piece(as_piece(event.value))):
            yield line

    async def last() -> list[dict[str, Any]]:
        ending = events.end_item()
        shown = response_as_json(end, values, events.items)
        kind = shown["status"] if shown["status"] in ("completed", "incomplete") else "failed"
        return unseen([*ending, events.event(f"response.{kind}", response=shown)])

    begun = {"status": "in_progress", "usage": None, "error": None, "incomplete_details": None}
    first = events.begin({**response_as_json(prediction, values, []), **begun})
    return StreamForm(unseen(first), each, last, WIRE, outlives_reader=background)
