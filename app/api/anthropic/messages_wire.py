"""The body of Anthropic's Messages API, and what it means in the words of chat templates. Knows no model."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Tag

from app.api.model_calls.failures import refused
from app.api.model_calls.fields import CallIn, Model, by_form, text_or_list
from app.api.model_calls.pictures import content_of, data_url, picture_part

# Members of blocks and messages that clients add for themselves; no template reads them.
NOT_READ = frozenset({"cache_control", "citations", "id", "signature", "caller"})
KNOWN = ("image", "text", "thinking", "redacted_thinking", "tool_use", "tool_result")


class AnthropicSource(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: str = Field(max_length=100, description="base64 or url.")
    media_type: str | None = Field(None, max_length=100)
    data: str | None = None
    url: str | None = None

    def picture(self, path: str) -> dict[str, Any]:
        """The picture as a part of a message. Raises InvalidRequest."""
        if self.type == "base64":
            url = data_url(self.media_type or "", self.data or "")
            return picture_part(url, f"{path}.type", f"{path}.source.data")
        if self.type != "url":
            raise refused(f"{path}.source.type", f"`{self.type[:50]}` is not supported, only base64 and url")
        return picture_part(self.url, f"{path}.type", f"{path}.source.url")


class AnthropicBlock(BaseModel):
    """A part of a message; which members it has goes by its type."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(max_length=100, description="text, image, tool_use, tool_result or thinking.")
    text: str | None = None
    thinking: str | None = None
    id: str | None = Field(None, max_length=200)
    name: str | None = Field(None, max_length=200)
    input: dict[str, Any] | None = None
    tool_use_id: str | None = Field(None, max_length=200)
    content: Any = None
    source: AnthropicSource | None = Field(None, description="Of a picture, for models that see.")

    def check(self, path: str, role: str) -> None:
        """Raises InvalidRequest for what is neither text nor a user's picture."""
        if self.type not in KNOWN:
            raise refused(f"{path}.type", f"`{self.type[:50]}` is not supported: only text and pictures are")
        if self.type == "image" and (role != "user" or self.source is None):
            raise refused(f"{path}.source", "is required of an image, which a user's message may have")

    def plain(self, path: str) -> str | dict[str, Any]:
        """A text or a picture as the runtime takes it. Raises InvalidRequest."""
        return self.source.picture(path) if self.source else self.text or ""


Content = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[AnthropicBlock], Tag("<list>")],
    by_form(text_or_list, "must be a text or a list of blocks"),
]


def blocks_of(content: Any) -> list[AnthropicBlock]:
    """A content in its long form."""
    return [AnthropicBlock(type="text", text=content)] if isinstance(content, str) else list(content or ())


class AnthropicMessageIn(BaseModel):
    model_config = ConfigDict(extra="allow")

    role: Literal["user", "assistant", "system"]
    content: Content

    def plain(self, path: str) -> list[dict[str, Any]]:
        """As the runtime takes it: a tool's result is a message of its own. Raises InvalidRequest."""
        blocks = blocks_of(self.content)
        for number, block in enumerate(blocks):
            block.check(f"{path}.content.{number}", self.role)
        results = [self._result(block, f"{path}.content") for block in blocks if block.type == "tool_result"]
        content = content_of(
            [
                block.plain(f"{path}.content.{number}")
                for number, block in enumerate(blocks)
                if block.type in ("text", "image")
            ]
        )
        message: dict[str, Any] = {"role": self.role, "content": content}
        if calls := [_call(block) for block in blocks if block.type == "tool_use"]:
            message["tool_calls"] = calls
        if thoughts := "".join(block.thinking or "" for block in blocks if block.type == "thinking"):
            message["reasoning_content"] = thoughts
        is_empty = results and not content and not calls
        return results if is_empty else [*results, message]

    @staticmethod
    def _result(block: AnthropicBlock, path: str) -> dict[str, Any]:
        content = block.content
        parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
        if not all(isinstance(part, dict) and part.get("type") == "text" for part in parts):
            raise refused(path, "of a tool_result must be text")
        text = "".join(str(part.get("text") or "") for part in parts)
        return {"role": "tool", "content": text, "tool_call_id": block.tool_use_id or ""}


def _call(block: AnthropicBlock) -> dict[str, Any]:
    function = {"name": block.name or "", "arguments": block.input or {}}
    return {"id": block.id or "", "type": "function", "function": function}


class AnthropicToolIn(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str = Field(max_length=128)
    type: str | None = Field(None, max_length=100, description="Only `custom`.")
    description: str | None = Field(None, max_length=100_000)
    input_schema: dict[str, Any] | None = Field(None, description="A JSON Schema.")

    def plain(self, path: str) -> dict[str, Any]:
        """As chat templates take it. Raises InvalidRequest for a tool of Anthropic's own."""
        if self.type not in (None, "custom"):
            raise refused(f"{path}.type", f"`{self.type[:50]}` is not supported, only tools of your own")
        description = {"description": self.description} if self.description else {}
        parameters = self.input_schema or {"type": "object", "properties": {}}
        return {"type": "function", "function": {"name": self.name, **description, "parameters": parameters}}


class AnthropicToolChoice(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = Field(None, max_length=128)
    disable_parallel_tool_use: bool | None = None


class ThinkingIn(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: Literal["enabled", "disabled", "adaptive"]


class MessagesIn(CallIn):
    """A conversation to continue."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "demo/words",
                    "max_tokens": 20,
                    "messages": [{"role": "user", "content": "Tell me of the sea."}],
                }
            ]
        }
    )

    model: Model = Field(examples=["demo/words"])
    max_tokens: int = Field(ge=1, le=2**53, description="At most this many tokens.")
    messages: list[AnthropicMessageIn] = Field(min_length=1, max_length=1_000)
    system: Content | None = None
    stop_sequences: list[Annotated[str, Field(max_length=1_000)]] | None = Field(None, max_length=16)
    stream: bool | None = False
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=0, le=10_000)
    tools: list[AnthropicToolIn] | None = Field(None, max_length=128)
    tool_choice: AnthropicToolChoice | None = None
    thinking: ThinkingIn | None = Field(
        None, description="`disabled` and `enabled` set the chat template's `enable_thinking`."
    )

    def conversation(self) -> list[dict[str, Any]]:
        """Plain messages, the system's first. Raises InvalidRequest."""
        system = "\n".join(block.text or "" for block in blocks_of(self.system))
        turns = [
            turn
            for number, message in enumerate(self.messages)
            for turn in message.plain(f"messages.{number}")
        ]
        return [{"role": "system", "content": system}, *turns] if system else turns

    def settings(self) -> dict[str, Any]:
        """Sampling and tools by our names. Raises InvalidRequest."""
        values: dict[str, Any] = {
            "max_new_tokens": self.max_tokens,
            "stop": self.stop_sequences or None,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            **self._tool_settings(),
        }
        if self.thinking and self.thinking.type != "adaptive":
            values["chat_template_kwargs"] = {"enable_thinking": self.thinking.type == "enabled"}
        return {name: value for name, value in values.items() if value is not None}

    def _tool_settings(self) -> dict[str, Any]:
        tools = [tool.plain(f"tools.{number}") for number, tool in enumerate(self.tools or ())]
        choice = self.tool_choice
        if choice and choice.type in ("any", "tool") and not tools:
            raise refused("tool_choice", "needs `tools`")
        if not tools or (choice and choice.type == "none"):
            return {}
        if choice is None:
            return {"tools": tools}
        names = {tool["function"]["name"] for tool in tools}
        if choice.type == "tool" and choice.name not in names:
            raise refused("tool_choice.name", "is not among `tools`")
        forced = {"any": "required", "tool": choice.name}.get(choice.type)
        limit = {"parallel_tool_calls": False} if choice.disable_parallel_tool_use else {}
        return {"tools": tools, **limit} | ({"tool_choice": forced} if forced else {})


class AnthropicUsageOut(BaseModel):
    input_tokens: int
    output_tokens: int


class AnthropicMessageOut(BaseModel):
    """Anthropic's message."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[dict[str, Any]]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"] | None
    stop_sequence: str | None = None
    usage: AnthropicUsageOut
