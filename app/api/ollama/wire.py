"""The bodies of Ollama's generate, chat and embed, and what they mean by our names. Knows no model."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Tag

from app.api.model_calls.failures import refused
from app.api.model_calls.fields import CallIn, Model, by_form, text_or_list
from app.api.model_calls.pictures import Content, content_of, data_url, picture_part

MOST_LOGPROBS = 20
MOST_TEXTS = 2_048
# OllamaOptions about the machine and its memory, which workers decide here.
MACHINE = frozenset(
    {
        *("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "numa", "low_vram"),
        *("f16_kv", "logits_all", "vocab_only", "use_mmap", "use_mlock", "embedding_only"),
        *("penalize_newline", "mirostat_tau", "mirostat_eta"),
    }
)
# OllamaOptions that change an answer and that are not there, with the values that change nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "mirostat": (0,),
    "tfs_z": (1,),
    "typical_p": (1,),
    "repeat_last_n": (-1,),
}
SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repeat_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
NEUTRAL_PENALTIES = {"min_p": 0, "repeat_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0}

Text = Annotated[str, Field(max_length=1_000_000)]
Pictures = Annotated[list[str], Field(max_length=64)] | None
Stop = Annotated[
    Annotated[str, Field(max_length=1_000), Tag("<text>")]
    | Annotated[list[str], Field(max_length=16), Tag("<list>")],
    by_form(text_or_list, "must be a text or a list of texts"),
]


def seen_content(text: str, pictures: list[str], path: str) -> Content:
    """A content with pictures (base64) before its text, where Ollama puts them. Raises InvalidRequest."""
    parts = [
        picture_part(data_url("application/octet-stream", each), f"{path}.{number}", f"{path}.{number}")
        for number, each in enumerate(pictures)
    ]
    return content_of([*parts, text])


class OllamaOptions(BaseModel):
    """How to draw tokens."""

    model_config = ConfigDict(extra="allow")

    seed: int | None = None
    num_predict: int | None = Field(None, ge=-2, le=2**53, description="-1, -2: as many as the context has.")
    stop: Stop | None = None
    temperature: float | None = Field(None, ge=0, le=5)
    top_k: int | None = Field(None, ge=0, le=10_000)
    top_p: float | None = Field(None, ge=0, le=1)
    min_p: float | None = Field(None, ge=0, le=1)
    repeat_penalty: float | None = Field(None, ge=0.1, le=10)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)

    def settings(self, ignored: list[str]) -> dict[str, Any]:
        """By our names; what is neutral is left out. Raises InvalidRequest for one that cannot be had."""
        self._check_others(ignored)
        values: dict[str, Any] = {
            ours: value
            for theirs, ours in SAMPLING.items()
            if (value := getattr(self, theirs)) is not None and value != NEUTRAL_PENALTIES.get(theirs)
        }
        if self.seed is not None:
            values["seed"] = self.seed % 2**32
        if self.num_predict is not None and self.num_predict >= 0:
            values["max_new_tokens"] = self.num_predict
        if self.stop:
            values["stop"] = [self.stop] if isinstance(self.stop, str) else self.stop
        return values

    def _check_others(self, ignored: list[str]) -> None:
        for name, value in (self.model_extra or {}).items():
            if value is None or value in NEUTRAL.get(name, ()):
                continue
            if name not in MACHINE:
                raise refused(f"options.{name}"[:200], "is not supported")
            ignored.append(f"options.{name}")


class OllamaIn(CallIn):
    """What all calls have in common."""

    model: Model = Field(examples=["demo/words"])
    options: OllamaOptions | None = None
    keep_alive: Any = Field(None, description="Ignored: the model cache decides.")

    def base_settings(self, ignored: list[str]) -> dict[str, Any]:
        """The options by our names."""
        if self.keep_alive is not None:
            ignored.append("keep_alive")
        return self.options.settings(ignored) if self.options else {}


class TextIn(OllamaIn):
    """What both ways to make text have in common."""

    stream: bool | None = Field(None, description="Default: true.")
    format: Literal["", "json"] | dict[str, Any] | None = Field(
        None, description="`json`, or a JSON Schema: what the answer must be."
    )
    think: bool | Literal["low", "medium", "high"] | None = Field(
        None, description="Sets the chat template's `enable_thinking`, or its `reasoning_effort`."
    )
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)

    @property
    def is_streamed(self) -> bool:
        return self.stream is not False

    def settings(self, ignored: list[str]) -> dict[str, Any]:
        """Everything but the text, by our names. Raises InvalidRequest."""
        values = self.base_settings(ignored)
        if self.format:
            values["json_schema"] = {"type": "object"} if self.format == "json" else self.format
        if self.think is not None:
            name = "enable_thinking" if isinstance(self.think, bool) else "reasoning_effort"
            values["chat_template_kwargs"] = {name: self.think}
        if self.logprobs:
            values["logprobs"] = self.top_logprobs or 0
        elif self.top_logprobs:
            raise refused("top_logprobs", "needs `logprobs`")
        return values


class OllamaGenerateIn(TextIn):
    """A prompt to answer; with `raw`, a text to continue."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "demo/words", "prompt": "The ship", "stream": False, "options": {"num_predict": 20}}
            ]
        }
    )

    prompt: Text = Field("", description="Not empty: loading a model is `POST /v1/models/…/load`.")
    system: Text | None = None
    raw: bool | None = Field(None, description="Continue the prompt as it is, without the chat template.")
    suffix: Text | None = Field(
        None, description="What follows the answer, for models that can fill in a text."
    )
    template: str | None = Field(None, description="Not supported: the model's own is used.")
    context: list[int] | None = Field(None, description="Not supported: send a conversation to /api/chat.")
    images: Pictures = Field(None, description="In base64, for models that see.")

    def text_input(self) -> dict[str, Any]:
        """The prompt, or a conversation of it. Raises InvalidRequest."""
        for name in ("template", "context"):
            if getattr(self, name):
                raise refused(name, "is not supported")
        if not self.prompt:
            raise refused("prompt", "is empty; a model is loaded by its first prediction, or by its `load`")
        if self.suffix and (self.system or self.images):
            raise refused("suffix", "stands beside a `prompt` only")
        if self.raw or self.suffix:
            for name in ("system", "images"):
                if getattr(self, name):
                    raise refused(name, "has no place in a `raw` prompt")
            return {"prompt": self.prompt} | ({"suffix": self.suffix} if self.suffix else {})
        system = [{"role": "system", "content": self.system}] if self.system else []
        content = seen_content(self.prompt, self.images or [], "images")
        return {"messages": [*system, {"role": "user", "content": content}]}


class OllamaCallFunction(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str = Field(max_length=200)
    arguments: dict[str, Any] | None = None


class OllamaToolCallIn(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str | None = Field(None, max_length=200)
    function: OllamaCallFunction

    def plain(self) -> dict[str, Any]:
        """As chat templates take it."""
        function = {"name": self.function.name, "arguments": self.function.arguments or {}}
        return ({"id": self.id} if self.id else {}) | {"type": "function", "function": function}


class OllamaMessageIn(BaseModel):
    """One turn."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant", "tool"]
    content: Text | None = None
    thinking: Text | None = None
    images: Pictures = Field(None, description="In base64, for models that see.")
    tool_calls: list[OllamaToolCallIn] | None = Field(None, max_length=128)
    tool_name: str | None = Field(None, max_length=200)
    tool_call_id: str | None = Field(None, max_length=200)

    def plain(self, path: str) -> dict[str, Any]:
        """As the runtime takes it. Raises InvalidRequest."""
        if self.images and self.role != "user":
            raise refused(f"{path}.images", "may be in a user's message only")
        more = {
            "tool_calls": [call.plain() for call in self.tool_calls or ()],
            "reasoning_content": self.thinking if self.role == "assistant" else None,
            "name": self.tool_name if self.role == "tool" else None,
            "tool_call_id": self.tool_call_id,
        }
        kept = {name: value for name, value in more.items() if value}
        content = seen_content(self.content or "", self.images or [], f"{path}.images")
        return {"role": self.role, "content": content, **kept}


class OllamaFunction(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str = Field(max_length=128)
    description: str | None = Field(None, max_length=100_000)
    parameters: dict[str, Any] | None = Field(None, description="A JSON Schema.")


class OllamaToolIn(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: str | None = Field("function", max_length=100, description="Only `function`.")
    function: OllamaFunction

    def plain(self) -> dict[str, Any]:
        """As chat templates take it."""
        function = self.function
        description = {"description": function.description} if function.description else {}
        parameters = function.parameters or {"type": "object", "properties": {}}
        return {
            "type": "function",
            "function": {"name": function.name, **description, "parameters": parameters},
        }


class OllamaChatIn(TextIn):
    """A conversation to continue."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "demo/words",
                    "messages": [{"role": "user", "content": "Tell me of the sea."}],
                    "stream": False,
                    "options": {"num_predict": 20},
                }
            ]
        }
    )

    messages: list[OllamaMessageIn] = Field(
        min_length=1,
        max_length=1_000,
        description="Not empty: loading a model is `POST /v1/models/…/load`.",
    )
    tools: list[OllamaToolIn] | None = Field(None, max_length=128)

    def conversation(self) -> list[dict[str, Any]]:
        """Plain messages. Raises InvalidRequest."""
        return [message.plain(f"messages.{number}") for number, message in enumerate(self.messages)]

    def settings(self, ignored: list[str]) -> dict[str, Any]:
        values = super().settings(ignored)
        for number, tool in enumerate(self.tools or ()):
            if tool.type not in (None, "function"):
                raise refused(f"tools.{number}.type", "must be function")
        return values | ({"tools": [tool.plain() for tool in self.tools]} if self.tools else {})


Input = Annotated[
    Annotated[Text, Tag("<text>")]
    | Annotated[list[Text], Field(min_length=1, max_length=MOST_TEXTS), Tag("<list>")],
    by_form(text_or_list, "must be a text or a list of texts"),
]


class VectorsIn(OllamaIn):
    """What both ways to embed have in common."""

    def check_options(self, ignored: list[str]) -> None:
        """Raises InvalidRequest for an option that would change a vector."""
        if names := list(self.base_settings(ignored)):
            raise refused(f"options.{names[0]}", "means nothing to an embedding")


class OllamaEmbedIn(VectorsIn):
    """Texts to embed."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "demo/minilm", "input": ["hello", "good morning"]}]}
    )

    input: Input
    truncate: bool | None = Field(None, description="Only true: what is too long is cut.")
    dimensions: int | None = Field(None, ge=1, le=100_000, description="Keep so many numbers.")


class OllamaEmbeddingIn(VectorsIn):
    """A text to embed (the older call)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "demo/minilm", "prompt": "good morning"}]}
    )

    prompt: Text
