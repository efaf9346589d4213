"""The bodies of completions and chat completions, with OpenAI's fields. Knows no model."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Tag

from app.api.openai.errors import refused
from app.api.openai.fields import CallIn, Model, by_form, text_or_list

MOST_CHOICES = 128  # predictions of one request
ROLES = {"developer": "system"}
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
        values = {
            "max_new_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop": stop,
            "seed": seed,
        }
        return {name: value for name, value in values.items() if value is not None}


def _prompt_form(value: Any) -> str | None:
    if isinstance(value, list) and not all(isinstance(text, str) for text in value):
        return None
    return text_or_list(value)


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
