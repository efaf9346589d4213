"""The body of chat completions: messages as clients send them and send them back, tools, formats. Knows no
model."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Tag

from app.api.model_calls.failures import refused
from app.api.model_calls.fields import by_form, text_or_list
from app.api.model_calls.pictures import Content as PlainContent
from app.api.model_calls.pictures import content_of, picture_part
from app.api.openai.text_wire import MOST_LOGPROBS, Count, TextIn, UsageOut

CONVERSATION: dict[str, Any] = {
    "model": "demo/words",
    "messages": [{"role": "user", "content": "Tell me of the sea."}],
    "max_tokens": 20,
}
# Members of messages and parts that clients add for themselves; no template reads them.
NOT_READ = frozenset(
    {"annotations", "cache_control", "citations", "id", "metadata", "provider_specific_fields", "status"}
)
TEXTS = ("text", "input_text", "output_text", "refusal")
PICTURES = ("image_url", "input_image")
MOST_TOOLS = 128
NAME = r"^[a-zA-Z0-9_./:-]{1,128}$"


def foreign(extra: dict[str, Any] | None, path: str, ignored: list[str]) -> None:
    """Members that are not ours: empty ones mean nothing, harmless ones are named, others refused."""
    for name, value in (extra or {}).items():
        if value in (None, [], {}, ""):
            continue
        if name not in NOT_READ:
            raise refused(f"{path}.{name}"[:200], "is not supported")
        ignored.append(f"{path}.{name}")


class ImageUrl(BaseModel):
    model_config = ConfigDict(extra="allow")

    url: str = Field(description="Where the picture is, or a data URL.")
    detail: str | None = Field(None, max_length=20, description="Ignored: the model's processor decides.")


class Part(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: str = Field(max_length=100, description="`text`, `image_url`, or a `refusal` of an earlier answer.")
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | str | None = Field(None, description="For models that see.")

    def plain(self, path: str, ignored: list[str]) -> str | dict[str, Any]:
        """The part's text, or its picture. Raises InvalidRequest for a part that is neither."""
        if self.type not in (*TEXTS, *PICTURES):
            raise refused(f"{path}.type", f"`{self.type[:50]}` is not supported: only text and pictures are")
        foreign(self.model_extra, path, ignored)
        if self.type in TEXTS:
            return self.text or self.refusal or ""
        url = self.image_url
        if isinstance(url, ImageUrl):
            if url.detail:
                ignored.append(f"{path}.image_url.detail")
            url = url.url
        return picture_part(url, f"{path}.type", f"{path}.image_url")


Content = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[Part], Tag("<list>")],
    by_form(text_or_list, "must be a text or a list of parts"),
]


class CallFunction(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str = Field(max_length=200)
    arguments: str | dict[str, Any] | None = Field(None, description="A JSON object, as text.")

    def plain(self, path: str) -> dict[str, Any]:
        """With its arguments as an object, as chat templates take them."""
        arguments = self.arguments or {}
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except ValueError:
                raise refused(f"{path}.arguments", "must be a JSON object as text") from None
        return {"name": self.name, "arguments": arguments}


class ToolCallIn(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str | None = Field(None, max_length=200)
    type: Literal["function"] | None = "function"
    function: CallFunction


class MessageIn(BaseModel):
    """One turn. What a client got as an answer may come back as it is."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content | None = None
    name: str | None = Field(None, max_length=200)
    refusal: str | None = None
    reasoning_content: str | None = Field(None, description="For templates that read earlier thoughts.")
    reasoning: str | None = Field(None, description="The same by another name.")
    tool_calls: list[ToolCallIn] | None = Field(None, max_length=MOST_TOOLS)
    tool_call_id: str | None = Field(None, max_length=200)
    function_call: CallFunction | None = Field(None, description="The older form of a tool call.")
    prefix: bool | None = Field(None, description="On the last message: it is to be continued.")

    def plain(self, path: str, ignored: list[str]) -> dict[str, Any]:
        """As the runtime takes it. Raises InvalidRequest naming a member that it cannot use."""
        foreign(self.model_extra, path, ignored)
        message: dict[str, Any] = {"role": self._role(), "content": self._content(path, ignored)}
        thoughts = self.reasoning_content or self.reasoning
        more = {
            "tool_calls": self._calls(path),
            "reasoning_content": thoughts if self.role == "assistant" else None,
            "tool_call_id": self.tool_call_id,
            "name": self.name if self.role in ("tool", "function") else None,
        }
        return message | {name: value for name, value in more.items() if value}

    def _calls(self, path: str) -> list[dict[str, Any]]:
        calls = [
            ({"id": call.id} if call.id else {})
            | {"type": "function", "function": call.function.plain(f"{path}.tool_calls.{number}.function")}
            for number, call in enumerate(self.tool_calls or ())
        ]
        if self.function_call:
            calls.append({"type": "function", "function": self.function_call.plain(f"{path}.function_call")})
        return calls

    def _role(self) -> str:
        return {"developer": "system", "function": "tool"}.get(self.role, self.role)

    def _content(self, path: str, ignored: list[str]) -> PlainContent:
        if isinstance(self.content, str):
            return self.content
        parts = enumerate(self.content or ())
        content = content_of([part.plain(f"{path}.content.{number}", ignored) for number, part in parts])
        if isinstance(content, list) and self.role != "user":
            picture = next(part for part in content if part["type"] == "image")
            raise refused(picture["path"], "is a picture, which only a user's message may have")
        return content or self.refusal or ""


class FunctionIn(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str = Field(pattern=NAME)
    description: str | None = Field(None, max_length=100_000)
    parameters: dict[str, Any] | None = Field(None, description="A JSON Schema.")

    def plain(self) -> dict[str, Any]:
        """As chat templates take it."""
        description = {"description": self.description} if self.description else {}
        parameters = self.parameters or {"type": "object", "properties": {}}
        return {
            "type": "function",
            "function": {"name": self.name, **description, "parameters": parameters},
        }


class ToolIn(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: str = Field("function", max_length=100, description="Only `function`.")
    function: FunctionIn | None = None


class NamedFunction(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str = Field(max_length=200)


class NamedTool(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: str | None = Field("function", max_length=100)
    function: NamedFunction | None = None
    name: str | None = Field(None, max_length=200)


class JsonSchemaIn(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str | None = Field(None, max_length=200)
    json_schema: dict[str, Any] | None = Field(None, alias="schema", description="A JSON Schema.")
    strict: bool | None = Field(None, description="The answer keeps to the schema in any case.")


class ResponseFormat(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: str = Field(max_length=100, description="`text`, `json_object` or `json_schema`.")
    json_schema: JsonSchemaIn | None = None

    def schema_of_answer(self) -> dict[str, Any] | None:
        """What the answer must be; None for any text. Raises InvalidRequest."""
        if self.type == "text":
            return None
        if self.type == "json_object":
            return {"type": "object"}
        if self.type != "json_schema":
            raise refused("response_format.type", "must be text, json_object or json_schema")
        if self.json_schema is None or self.json_schema.json_schema is None:
            raise refused("response_format.json_schema.schema", "is required")
        return self.json_schema.json_schema


class ChatIn(TextIn):
    """A conversation to continue."""

    model_config = ConfigDict(json_schema_extra={"examples": [CONVERSATION]})

    messages: list[MessageIn] = Field(min_length=1, max_length=1_000)
    max_completion_tokens: Count = Field(None, description="At most this many tokens.")
    response_format: ResponseFormat | None = None
    logprobs: bool | None = Field(None, description="With the log probability of each token.")
    top_logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS, description="And of so many others.")
    tools: list[ToolIn] | None = Field(None, max_length=MOST_TOOLS)
    tool_choice: str | NamedTool | None = Field(
        None, description="`auto`, `none`, `required`, or a function by name."
    )
    parallel_tool_calls: bool | None = Field(None, description="False: one call at most.")
    functions: list[FunctionIn] | None = Field(
        None, max_length=MOST_TOOLS, description="The older form of `tools`."
    )
    function_call: str | NamedFunction | None = Field(None, description="The older form of `tool_choice`.")
    modalities: list[Literal["text"]] | None = Field(None, description="Only text.")
    reasoning_effort: str | None = Field(None, max_length=50, description="A variable of the chat template.")
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="Variables of the chat template, e.g. enable_thinking."
    )
    continue_final_message: bool | None = Field(
        None, description="Continue the last message instead of answering it."
    )
    add_generation_prompt: bool | None = Field(None, description="True: always begin a new message.")

    def conversation(self, ignored: list[str]) -> list[dict[str, Any]]:
        """Plain messages. Raises InvalidRequest."""
        return [message.plain(f"messages.{index}", ignored) for index, message in enumerate(self.messages)]

    def settings(self) -> dict[str, Any]:
        """Sampling, tools, format and template by our names. Raises InvalidRequest."""
        values = {
            "max_new_tokens": self.max_completion_tokens,
            "logprobs": (self.top_logprobs or 0) if self.logprobs else None,
            "json_schema": self.response_format.schema_of_answer() if self.response_format else None,
            "chat_template_kwargs": self._template_variables() or None,
            "continue_final_message": self._continues(),
            **self._tool_settings(),
        }
        if self.top_logprobs and not self.logprobs:
            raise refused("top_logprobs", "needs `logprobs`")
        return super().settings() | {name: value for name, value in values.items() if value is not None}

    def _template_variables(self) -> dict[str, Any]:
        effort = {"reasoning_effort": self.reasoning_effort} if self.reasoning_effort else {}
        return effort | (self.chat_template_kwargs or {})

    def _continues(self) -> bool | None:
        """Whether the last message is to be continued; None leaves it to the runtime, which continues an
        assistant's."""
        if self.continue_final_message is not None:
            return self.continue_final_message
        if self.messages[-1].prefix is not None:
            return self.messages[-1].prefix
        return False if self.add_generation_prompt else None

    def _tool_settings(self) -> dict[str, Any]:
        tools = self._tools()
        choice = self._choice()
        names = {tool["function"]["name"] for tool in tools}
        if choice not in (None, "auto", "none", "required") and choice not in names:
            raise refused("tool_choice", "names a function that is not among `tools`")
        if choice == "required" and not tools:
            raise refused("tool_choice", "needs `tools`")
        if not tools or choice == "none":
            return {}
        limit = {"parallel_tool_calls": False} if self.parallel_tool_calls is False else {}
        return {"tools": tools, **limit} | ({"tool_choice": choice} if choice not in (None, "auto") else {})

    def _tools(self) -> list[dict[str, Any]]:
        functions = list(self.functions or ())
        for number, tool in enumerate(self.tools or ()):
            if tool.type != "function" or tool.function is None:
                raise refused(f"tools.{number}.type", f"`{tool.type[:50]}` is not supported, only functions")
            functions.append(tool.function)
        return [function.plain() for function in functions]

    def _choice(self) -> str | None:
        """auto, none, required, a function's name, or None."""
        choice = self.tool_choice if self.tool_choice is not None else self.function_call
        if choice is None or isinstance(choice, str):
            if choice not in (None, "auto", "none", "required", "any"):
                raise refused("tool_choice", "must be auto, none, required, or name a function")
            return "required" if choice == "any" else choice
        if isinstance(choice, NamedFunction):
            return choice.name
        name = choice.function.name if choice.function else choice.name
        if choice.type != "function" or not name:
            raise refused("tool_choice", "must be auto, none, required, or name a function")
        return name

    @property
    def wants_logprobs(self) -> bool:
        return bool(self.logprobs)

    @property
    def wants_older_calls(self) -> bool:
        """Whether tool calls are to be answered as `function_call`."""
        return bool(self.functions) and not self.tools


class FunctionOut(BaseModel):
    name: str
    arguments: str


class ToolCallOut(BaseModel):
    id: str
    type: Literal["function"] = "function"
    function: FunctionOut


class MessageOut(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallOut] | None = None


class LikelyTokenOut(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprobOut(LikelyTokenOut):
    top_logprobs: list[LikelyTokenOut]


class ChatLogprobsOut(BaseModel):
    content: list[TokenLogprobOut]


class ChatChoiceOut(BaseModel):
    index: int
    message: MessageOut
    finish_reason: str | None
    logprobs: ChatLogprobsOut | None = None


class ChatOut(BaseModel):
    """OpenAI's chat completion."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoiceOut]
    usage: UsageOut
