"""The body of OpenAI's Responses, and what it means in the words of chat templates. Knows no model."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Tag

from app.api.model_calls.failures import refused
from app.api.model_calls.fields import CallIn, Model, by_form, text_or_list
from app.api.model_calls.pictures import Content as PlainContent
from app.api.model_calls.pictures import content_of, picture_part
from app.api.openai.text_wire import MOST_LOGPROBS, Count

TEXTS = ("input_text", "output_text", "text", "reasoning_text", "summary_text", "refusal")
LOGPROBS = "message.output_text.logprobs"
# What clients ask for by themselves and no model here has.
INCLUDED = frozenset({"reasoning.encrypted_content", LOGPROBS})
Metadata = dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]]


class ResponsePart(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: str = Field(max_length=100)
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = Field(None, description="Of an `input_image`: a URL or a data URL.")


Content = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[ResponsePart], Tag("<list>")],
    by_form(text_or_list, "must be a text or a list of parts"),
]


def text_of(content: Any, path: str) -> str:
    """A content as text. Raises InvalidRequest for a part that is none."""
    if isinstance(content, str) or content is None:
        return content or ""
    for number, part in enumerate(content):
        if part.type not in TEXTS:
            raise refused(
                f"{path}.{number}.type", f"`{part.type[:50]}` is not supported: these models read text only"
            )
    return "".join(part.text or part.refusal or "" for part in content)


def user_content(content: Any, path: str) -> PlainContent:
    """A user's content, of texts and pictures. Raises InvalidRequest for a part that is neither."""
    if not isinstance(content, list):
        return text_of(content, path)
    return content_of([_text_or_picture(part, f"{path}.{number}") for number, part in enumerate(content)])


def _text_or_picture(part: ResponsePart, path: str) -> str | dict[str, Any]:
    if part.type == "input_image":
        return picture_part(part.image_url, f"{path}.type", f"{path}.image_url")
    if part.type not in TEXTS:
        raise refused(f"{path}.type", f"`{part.type[:50]}` is not supported: only text and pictures are")
    return part.text or part.refusal or ""


class ResponseItem(BaseModel):
    """A part of the input; which members it has goes by its type."""

    model_config = ConfigDict(extra="ignore")

    type: str | None = Field(
        None, max_length=100, description="message, function_call, function_call_output or reasoning."
    )
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: Content | None = None
    call_id: str | None = Field(None, max_length=200)
    name: str | None = Field(None, max_length=200)
    arguments: str | None = None
    output: Content | None = None

    def add_to(self, turns: list[dict[str, Any]], path: str) -> None:
        """Adds it to the messages of a chat template. What the assistant thought, said and called in one turn
        is one message. Raises InvalidRequest."""
        kind = self.type or "message"
        if kind == "message" and self.role:
            self._add_message(turns, path)
        elif kind == "function_call":
            assistant_turn(turns).setdefault("tool_calls", []).append(self._call(path))
        elif kind == "function_call_output":
            text = text_of(self.output, f"{path}.output")
            turns.append({"role": "tool", "content": text, "tool_call_id": self.call_id or ""})
        elif kind == "reasoning":
            if thoughts := text_of(self.content, f"{path}.content"):
                assistant_turn(turns)["reasoning_content"] = thoughts
        else:
            raise refused(f"{path}.type", f"`{kind[:50]}` is not supported")

    def _add_message(self, turns: list[dict[str, Any]], path: str) -> None:
        if self.role == "user":
            turns.append({"role": "user", "content": user_content(self.content, f"{path}.content")})
        elif self.role == "assistant":
            assistant_turn(turns)["content"] += text_of(self.content, f"{path}.content")
        else:
            turns.append({"role": "system", "content": text_of(self.content, f"{path}.content")})

    def _call(self, path: str) -> dict[str, Any]:
        try:
            arguments = json.loads(self.arguments or "{}")
        except ValueError:
            raise refused(f"{path}.arguments", "must be a JSON object as text") from None
        function = {"name": self.name or "", "arguments": arguments}
        return {"id": self.call_id or "", "type": "function", "function": function}


def assistant_turn(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """The assistant's message at the end, which is begun if there is none."""
    if not turns or turns[-1]["role"] != "assistant":
        turns.append({"role": "assistant", "content": ""})
    return turns[-1]


class ResponseTool(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: str = Field("function", max_length=100, description="Only `function`.")
    name: str | None = Field(None, max_length=128)
    description: str | None = Field(None, max_length=100_000)
    parameters: dict[str, Any] | None = Field(None, description="A JSON Schema.")
    strict: bool | None = None

    def plain(self, path: str) -> dict[str, Any]:
        """As chat templates take it. Raises InvalidRequest."""
        if self.type != "function" or not self.name:
            raise refused(f"{path}.type", f"`{self.type[:50]}` is not supported, only functions with a name")
        description = {"description": self.description} if self.description else {}
        parameters = self.parameters or {"type": "object", "properties": {}}
        return {"type": "function", "function": {"name": self.name, **description, "parameters": parameters}}


class ResponseNamedTool(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: str = Field(max_length=100)
    name: str | None = Field(None, max_length=128)


class ResponseTextFormat(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: dict[str, Any] | None = Field(None, alias="schema")

    def schema_of_answer(self) -> dict[str, Any] | None:
        """What the answer must be; None for any text. Raises InvalidRequest."""
        if self.type == "json_object":
            return {"type": "object"}
        if self.type == "json_schema" and self.json_schema is None:
            raise refused("text.format.schema", "is required")
        return self.json_schema if self.type == "json_schema" else None


class ResponseTextSettings(BaseModel):
    model_config = ConfigDict(extra="ignore")

    format: ResponseTextFormat | None = None
    verbosity: Literal["medium"] | None = Field(None, description="Nothing else is supported.")


class ResponseReasoning(BaseModel):
    model_config = ConfigDict(extra="ignore")

    effort: str | None = Field(None, max_length=50, description="A variable of the chat template.")


class ResponseStreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    include_obfuscation: bool | None = False


class ResponsesIn(CallIn):
    """What to answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "demo/words", "input": "Tell me of the sea.", "max_output_tokens": 20},
            ]
        }
    )

    model: Model = Field(examples=["demo/words"])
    input: Annotated[
        Annotated[str, Field(max_length=1_000_000), Tag("<text>")]
        | Annotated[list[ResponseItem], Field(max_length=1_000), Tag("<list>")],
        by_form(text_or_list, "must be a text or a list of items"),
    ]
    instructions: str | None = Field(None, max_length=1_000_000, description="A system message.")
    previous_response_id: str | None = Field(
        None, max_length=100, description="Goes on from that response; its `instructions` do not."
    )
    max_output_tokens: Count = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)
    text: ResponseTextSettings | None = None
    reasoning: ResponseReasoning | None = None
    tools: list[ResponseTool] | None = Field(None, max_length=128)
    tool_choice: str | ResponseNamedTool | None = Field(
        None, description="`auto`, `none`, `required`, or a function by name."
    )
    parallel_tool_calls: bool | None = None
    include: list[Annotated[str, Field(max_length=100)]] | None = Field(None, max_length=20)
    truncation: Literal["disabled"] | None = Field(None, description="Nothing else is supported.")
    stream: bool | None = False
    stream_options: ResponseStreamOptions | None = None
    background: bool | None = Field(False, description="Answer at once; the response goes on.")
    store: bool | None = Field(True, description="False: the response cannot be retrieved.")
    metadata: Metadata | None = Field(None, max_length=16)

    def turns(self, earlier: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The conversation, what was `earlier` first. Raises InvalidRequest."""
        turns = list(earlier)
        if isinstance(self.input, str):
            return self._instructed([*turns, {"role": "user", "content": self.input}])
        for number, item in enumerate(self.input):
            item.add_to(turns, f"input.{number}")
        if not turns:
            raise refused("input", "is empty")
        return self._instructed(turns)

    def _instructed(self, turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """With the instructions at the beginning, within a system message that is there already."""
        if not self.instructions:
            return turns
        if turns[0]["role"] != "system":
            return [{"role": "system", "content": self.instructions}, *turns]
        first = {**turns[0], "content": f"{self.instructions}{JOINT}{turns[0]['content']}"}
        return [first, *turns[1:]]

    def settings(self, ignored: list[str]) -> dict[str, Any]:
        """Sampling, tools and format by our names. Raises InvalidRequest."""
        for name in self.include or ():
            if name not in INCLUDED:
                raise refused("include", f"`{name}` is not supported")
        if "reasoning.encrypted_content" in (self.include or ()):
            ignored.append("include")
        wants_logprobs = self.top_logprobs is not None or LOGPROBS in (self.include or ())
        form = self.text.format if self.text else None
        effort = self.reasoning.effort if self.reasoning else None
        values = {
            "max_new_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "logprobs": (self.top_logprobs or 0) if wants_logprobs else None,
            "json_schema": form.schema_of_answer() if form else None,
            "chat_template_kwargs": {"reasoning_effort": effort} if effort else None,
            **self._tool_settings(),
        }
        return {name: value for name, value in values.items() if value is not None}

    def _tool_settings(self) -> dict[str, Any]:
        tools = [tool.plain(f"tools.{number}") for number, tool in enumerate(self.tools or ())]
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

    def _choice(self) -> str | None:
        choice = self.tool_choice
        if isinstance(choice, ResponseNamedTool):
            if choice.type != "function" or not choice.name:
                raise refused("tool_choice", "must be auto, none, required, or name a function")
            return choice.name
        if choice not in (None, "auto", "none", "required"):
            raise refused("tool_choice", "must be auto, none, required, or name a function")
        return choice

    def kept(self) -> dict[str, Any]:
        """What the record keeps, beside the model's input, to show the response by."""
        values = {
            "model": self.model,
            "instructions": len(self.instructions or ""),
            "previous": self.previous_response_id,
            "metadata": self.metadata,
            "background": self.background,
            "hidden": self.store is False,
        }
        return {name: value for name, value in values.items() if value}


JOINT = "\n\n"  # between the instructions and a system message


def without_instructions(turns: list[dict[str, Any]], size: int) -> tuple[str | None, list[dict[str, Any]]]:
    """The instructions, so many characters at the beginning, and the conversation without them."""
    if not size or not turns:
        return None, turns
    content = str(turns[0].get("content") or "")
    rest = content[size:].removeprefix(JOINT)
    others = turns[1:]
    return content[:size], [{**turns[0], "content": rest}, *others] if rest else others
