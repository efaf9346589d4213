"""Completions and chat completions, plain and streamed."""

import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, Tag
from starlette.responses import Response

from app.api.deps import caller_of
from app.api.openai import calls
from app.api.openai.calls import Call
from app.api.openai.errors import OpenAIRoute, declared, failure_of, refused, respond
from app.api.openai.fields import CallIn, Model, by_form, text_or_list
from app.domain.predictions import Prediction, Status
from app.services.predictions.follow import StreamEvent

router = APIRouter(dependencies=[Depends(caller_of)], tags=["OpenAI"], route_class=OpenAIRoute)

MOST_CHOICES = 128  # predictions of one request
ROLES = {"developer": "system"}
STREAM: dict[str, Any] = {
    "description": "With `stream`, server-sent events.",
    "content": {"text/event-stream": {}},
}
Count = Annotated[int | None, Field(ge=1, le=32_768)]


CONVERSATION: dict[str, Any] = {
    "model": "demo/words",
    "messages": [{"role": "user", "content": "Tell me of the sea."}],
    "max_tokens": 20,
}


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False
    include_obfuscation: bool = False


Stop = Annotated[
    Annotated[str, Field(max_length=1_000), Tag("<text>")]
    | Annotated[list[str], Field(max_length=16), Tag("<list>")],
    by_form(text_or_list, "must be a text or a list of texts"),
]


class TextIn(CallIn):
    """What both have in common. What is left out is as the model's version says."""

    model: Model = Field(examples=["demo/words"])
    n: int | None = Field(1, ge=1, le=MOST_CHOICES, description="How many answers.")
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    stop: Stop | None = None
    seed: int | None = Field(None, description="The same seed and input give the same text.")
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_tokens: Count = Field(None, description="At most this many tokens.")
    presence_penalty: float | None = Field(None, description="Only 0.")
    frequency_penalty: float | None = Field(None, description="Only 0.")
    logit_bias: dict[str, float] | None = Field(None, description="Only empty.")
    logprobs: bool | int | None = Field(None, description="Not to be had; only false.")
    metadata: dict[str, str] | None = Field(None, description="Taken and not used.")
    service_tier: str | None = Field(None, description="Taken and not used.")
    prompt_cache_key: str | None = Field(None, description="Taken and not used.")
    safety_identifier: str | None = Field(None, description="Taken and not used.")

    def refuse_what_is_not_there(self) -> None:
        """Raises InvalidRequest naming the first parameter that would change the answer and cannot."""
        for name in ("presence_penalty", "frequency_penalty", "logit_bias"):
            if getattr(self, name):
                raise refused(name, "is not supported")
        if self.logprobs is not None and self.logprobs is not False:
            raise refused("logprobs", "are not supported")

    def settings(self) -> dict[str, Any]:
        """The sampling parameters by our names."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        seed = None if self.seed is None else self.seed % 2**32
        given = {
            "max_new_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop": stop,
            "seed": seed,
        }
        return {name: value for name, value in given.items() if value is not None}


def _prompt_form(value: Any) -> str | None:
    return (
        None
        if isinstance(value, list) and not all(isinstance(one, str) for one in value)
        else text_or_list(value)
    )


Prompt = Annotated[
    Annotated[str, Field(max_length=1_000_000), Tag("<text>")]
    | Annotated[list[str], Field(min_length=1, max_length=64), Tag("<list>")],
    by_form(_prompt_form, "must be a text or a list of texts; token ids are not supported"),
]


class CompletionIn(TextIn):
    """A text to continue."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model": "demo/words", "prompt": "The ship", "max_tokens": 20, "stream": False}]
        }
    )

    prompt: Prompt
    best_of: int | None = Field(None, description="Only as large as `n`.")
    echo: bool | None = Field(False, description="Put the prompt before the answer.")
    suffix: str | None = Field(None, description="Not supported.")

    def prompts(self) -> list[str]:
        """One or several texts. Raises InvalidRequest."""
        self.refuse_what_is_not_there()
        if self.suffix:
            raise refused("suffix", "is not supported")
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise refused("best_of", "is only supported as large as `n`")
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["text"] = Field(description="Only text.")
    text: str


Content = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[Part], Tag("<list>")],
    by_form(text_or_list, "must be a text or a list of parts"),
]


class MessageIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "developer", "user", "assistant"]
    content: Content | None = None
    name: str | None = Field(None, description="Taken and not used.")
    refusal: None = None

    def plain(self) -> dict[str, str]:
        content = (
            self.content
            if isinstance(self.content, str)
            else "".join(part.text for part in self.content or ())
        )
        return {"role": ROLES.get(self.role, self.role), "content": content}


class ResponseFormat(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: str


class ChatIn(TextIn):
    """A conversation to continue."""

    model_config = ConfigDict(json_schema_extra={"examples": [CONVERSATION]})

    messages: list[MessageIn] = Field(min_length=1, max_length=1_000)
    max_completion_tokens: Count = Field(None, description="At most this many tokens.")
    response_format: ResponseFormat | None = Field(None, description='Only {"type": "text"}.')
    top_logprobs: int | None = Field(None, description="Not supported.")
    tools: list[Any] | None = Field(None, description="Not supported.")
    tool_choice: Any = Field(None, description="Not supported.")
    functions: list[Any] | None = Field(None, description="Not supported.")
    parallel_tool_calls: bool | None = Field(None, description="Taken and not used.")
    store: bool | None = Field(None, description="Taken and not used.")
    modalities: list[Literal["text"]] | None = Field(None, description="Only text.")

    def conversation(self) -> list[dict[str, str]]:
        """Plain messages. Raises InvalidRequest."""
        self.refuse_what_is_not_there()
        for name in ("tools", "functions", "top_logprobs"):
            if getattr(self, name):
                raise refused(name, "are not supported")
        if self.tool_choice not in (None, "none", "auto"):
            raise refused("tool_choice", "is not supported")
        if self.response_format and self.response_format.type != "text":
            raise refused("response_format", 'only {"type": "text"} is supported')
        return [message.plain() for message in self.messages]

    def settings(self) -> dict[str, Any]:
        more = (
            {"max_new_tokens": self.max_completion_tokens} if self.max_completion_tokens is not None else {}
        )
        return super().settings() | more


class UsageOut(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionChoiceOut(BaseModel):
    index: int
    text: str
    finish_reason: str | None
    logprobs: None = None


class CompletionOut(BaseModel):
    """OpenAI's text completion."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoiceOut]
    usage: UsageOut


class MessageOut(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None


class ChatChoiceOut(BaseModel):
    index: int
    message: MessageOut
    finish_reason: str | None
    logprobs: None = None


class ChatOut(BaseModel):
    """OpenAI's chat completion."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoiceOut]
    usage: UsageOut


class Form:
    """How one of the two is written; `prefixes` are put before the answers (completions' `echo`)."""

    def __init__(
        self, chat: bool, model: str, predictions: Sequence[Prediction], prefixes: Sequence[str] = ()
    ) -> None:
        self.chat, self._model, self._prefixes = chat, model, prefixes
        self._id = ("chatcmpl-" if chat else "cmpl-") + predictions[0].id
        self._created = int(time.time())

    def prefix(self, index: int) -> str:
        return self._prefixes[index] if self._prefixes else ""

    def whole(self, predictions: Sequence[Prediction]) -> dict[str, Any]:
        """The answer of a request that is not streamed."""
        choices = [self._choice(index, one) for index, one in enumerate(predictions)]
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._head(kind), "choices": choices, "usage": usage_of(predictions)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def _choice(self, index: int, prediction: Prediction) -> dict[str, Any]:
        text = self.prefix(index) + text_of(prediction.output)
        said: dict[str, Any] = (
            {"message": {"role": "assistant", "content": text, "refusal": None}}
            if self.chat
            else {"text": text}
        )
        return {"index": index, **said, "logprobs": None, "finish_reason": reason_of(prediction)}

    def piece(
        self, index: int, text: str | None, reason: str | None = None, *, role: bool = False
    ) -> dict[str, Any]:
        """One event of a stream; `text` None for the last of a choice."""
        delta = ({"role": "assistant"} if role else {}) | ({"content": text} if text is not None else {})
        said: dict[str, Any] = {"delta": delta} if self.chat else {"text": text or ""}
        return self.event([{"index": index, **said, "logprobs": None, "finish_reason": reason}])

    def event(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._head("chat.completion.chunk" if self.chat else "text_completion"), "choices": choices}


def text_of(output: Any) -> str:
    """The text of a model's output: a string, or pieces of one."""
    return "".join(map(str, output)) if isinstance(output, list) else "" if output is None else str(output)


def reason_of(prediction: Prediction) -> str:
    """`stop` or `length`, which are OpenAI's words, too."""
    return str(prediction.metrics.get("finish_reason", "stop"))


def usage_of(predictions: Sequence[Prediction]) -> dict[str, int]:
    """Tokens of all; 0 where the model does not count them."""
    read = sum(int(one.metrics.get("prompt_tokens", 0)) for one in predictions)
    written = sum(int(one.metrics.get("output_tokens", 0)) for one in predictions)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


@router.post(
    "/v1/completions",
    operation_id="openai.completions.create",
    summary="Continue a text (OpenAI)",
    response_model=None,
    responses={200: {"model": CompletionOut, **STREAM}, **declared(400, 401, 403, 404, 413, 415, 429)},
)
async def create_completion(request: Request, asked: CompletionIn) -> Response:
    """OpenAI's legacy completions; `stream` for server-sent events."""
    made = await calls.call(request, asked.model)
    calls.needs(made, "prompt")
    times = asked.n or 1
    prompts = [prompt for prompt in asked.prompts() for _ in range(times)]
    settings = known(made, asked.settings()) | asked.own_inputs(made)
    return await _answer(
        request,
        made,
        asked,
        [{"prompt": prompt, **varied(settings, n % times)} for n, prompt in enumerate(prompts)],
        prompts if asked.echo else (),
        chat=False,
    )


@router.post(
    "/v1/chat/completions",
    operation_id="openai.chat.completions.create",
    summary="Continue a conversation (OpenAI)",
    response_model=None,
    responses={200: {"model": ChatOut, **STREAM}, **declared(400, 401, 403, 404, 413, 415, 429)},
)
async def create_chat_completion(request: Request, asked: ChatIn) -> Response:
    """OpenAI's chat completions, through the model's own chat template; `stream` for server-sent events."""
    made = await calls.call(request, asked.model)
    calls.needs(made, "messages")
    conversation, settings = asked.conversation(), known(made, asked.settings()) | asked.own_inputs(made)
    inputs = [{"messages": conversation, **varied(settings, n)} for n in range(asked.n or 1)]
    return await _answer(request, made, asked, inputs, (), chat=True)


def known(made: Call, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings. Raises InvalidRequest for one that the model does not have."""
    for name in settings:
        if name not in made.inputs():
            raise refused(
                "max_tokens" if name == "max_new_tokens" else name, f"{made.version.model} does not take it"
            )
    return settings


def varied(settings: dict[str, Any], number: int) -> dict[str, Any]:
    """The `number`th answer of one request: another seed for each, or all would be the same."""
    return {**settings, "seed": (settings["seed"] + number) % 2**32} if "seed" in settings else settings


async def _answer(
    request: Request,
    made: Call,
    asked: TextIn,
    inputs: list[dict[str, Any]],
    prefixes: Sequence[str],
    *,
    chat: bool,
) -> Response:
    if len(inputs) > MOST_CHOICES:
        raise refused("n", f"prompts times n may be at most {MOST_CHOICES}")
    if asked.stream_options and not asked.stream:
        raise refused("stream_options", "is only allowed with `stream`")
    if asked.stream and not made.version.streams:
        raise refused("stream", f"{made.version.model} does not stream")
    predictions = await made.predict(inputs)
    form = Form(chat, asked.model, predictions, prefixes)
    if not asked.stream:
        return respond(200, form.whole(await calls.ended(request, made, predictions)))
    return await _stream(
        request,
        made,
        predictions,
        form,
        usage=bool(asked.stream_options and asked.stream_options.include_usage),
    )


async def _stream(
    request: Request, made: Call, predictions: list[Prediction], form: Form, *, usage: bool
) -> Response:
    ends: dict[int, Prediction] = {}

    def told(event: dict[str, Any]) -> dict[str, Any]:
        return {**event, "usage": None} if usage else event

    async def lines(index: int, event: StreamEvent) -> AsyncIterator[dict[str, Any]]:
        if event.event == "output":
            yield told(form.piece(index, event.data))
            return
        end = ends[index] = await made.services.follower.get(predictions[index].id)
        if end.status is not Status.SUCCEEDED:
            raise failure_of(end)
        yield told(form.piece(index, None, reason_of(end)))

    async def last() -> list[dict[str, Any]]:
        return [{**form.event([]), "usage": usage_of(list(ends.values()))}] if usage else []

    numbers = range(len(predictions))
    roles = [told(form.piece(index, "", role=True)) for index in numbers] if form.chat else []
    echoes = [told(form.piece(index, form.prefix(index))) for index in numbers if form.prefix(index)]
    return await calls.streamed(request, made, predictions, roles + echoes, lines, last)
