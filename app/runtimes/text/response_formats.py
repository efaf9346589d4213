"""How families of models write their thoughts and tool calls into their text, as transformers' response
templates: the tokenizer's own where it has one, else by the marks in its chat template.

A call is read from a region of the text (its `content` is JSON or what else the family writes), and the same
region is what a forced call is made of (`ForcedCall`). Pure data and functions; knows no run.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CALLS = "tool_calls"
THOUGHTS = "reasoning_content"
CONTENT = "content"
# transformers' names for what a template of its own may call them.
ALIASES = {"thinking": THOUGHTS, "reasoning": THOUGHTS, "tool_call": CALLS}
# Marks around thoughts, in the chat templates that have them.
THINKING = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<thought>", "</thought>"))
LAX = {"allow_non_json": True}


@dataclass(frozen=True, slots=True)
class ForcedCall:
    """What stands around a call's JSON object and what its members are called; `listed`: calls are items of
    one JSON list."""

    before: str
    after: str = ""
    arguments: str = "arguments"
    listed: bool = False


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """`template` is transformers' (None: plain text); `thinking` the marks around thoughts; `bare`: a call is
    an answer that is nothing but JSON."""

    template: dict[str, Any] | None = None
    thinking: tuple[str, str] | None = None
    forced: ForcedCall | None = None
    bare: bool = False
    own: bool = False  # the tokenizer's own template: it sees the whole prompt

    @property
    def has_calls(self) -> bool:
        return self.bare or bool(self.template and CALLS in map(canonical, self.template["fields"]))

    @property
    def marks(self) -> str:
        """Everything by which regions are told apart, to find special tokens in."""
        return json.dumps(self.template, ensure_ascii=False) if self.template else ""


@dataclass(frozen=True, slots=True)
class Family:
    """A way to write calls: recognised by `mark` (a pattern) in the chat template."""

    mark: str
    fields: Mapping[str, Any]
    forced: ForcedCall | None = None
    bare: bool = False


def _region(open_: str, close: str | None = None, **more: Any) -> dict[str, Any]:
    ends = {"close": close} if close else {}
    return {"open": open_, **ends, "repeats": True, "content": "json", "content_args": LAX, **more}


FUNCTION_TAGS = {
    "open_pattern": r"<tool_call>\s*<function=(?P<name>[^>\n]+)>",
    "close_pattern": r"</function>\s*</tool_call>",
    "repeats": True,
    "content": "xml-inline",
    "content_args": {"tag_pattern": r"<parameter=(?P<key>[^>\n]+)>\n?(?P<value>.*?)\n?</parameter>"},
    "transform": {"function": {"name": "{name}", "arguments": "{content}"}},
}
# The more particular marks stand first.
FAMILIES = (
    Family(r"<function=", FUNCTION_TAGS),
    Family(
        r"<tool_call>", _region("<tool_call>", "</tool_call>"), ForcedCall("<tool_call>\n", "\n</tool_call>")
    ),
    Family(r"\[TOOL_CALLS\]", _region("[TOOL_CALLS]"), ForcedCall("[TOOL_CALLS]", listed=True)),
    Family(r"<\|tool_call\|>", _region("<|tool_call|>"), ForcedCall("<|tool_call|>", listed=True)),
    Family("<｜tool▁call▁begin｜>", _region("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>")),
    Family(
        r"ipython|<\|python_tag\|>|\"parameters\"",
        {},
        ForcedCall("", arguments="parameters"),
        bare=True,
    ),
)


def find_format(chat_template: str, own_template: Any, has_tools: bool) -> ResponseFormat:
    """The format of a model's answers."""
    if isinstance(own_template, dict):
        return ResponseFormat(template=own_template, own=True)
    thinking = next((pair for pair in THINKING if pair[1] in chat_template), None)
    family = next((each for each in FAMILIES if has_tools and re.search(each.mark, chat_template)), None)
    fields: dict[str, Any] = {CONTENT: {"content": "text", "content_args": {"strip": False}}}
    if thinking:
        args = {"strip": False}
        fields[THOUGHTS] = {
            "open": thinking[0],
            "close": thinking[1],
            "content": "text",
            "content_args": args,
        }
    if family and family.fields:
        fields[CALLS] = dict(family.fields)
    template = {"start_anchor_pattern": r"\A", "fields": fields} if len(fields) > 1 else None
    return ResponseFormat(
        template, thinking, family.forced if family else None, bare=bool(family and family.bare)
    )


def canonical(name: str) -> str:
    """A response template's field by the name that it has in our pieces."""
    return ALIASES.get(name, name)


def read_calls(value: Any) -> list[dict[str, Any]] | None:
    """The calls ({name, arguments}) that a region holds; None when it holds none that can be read."""
    values = value if isinstance(value, list) else [value]
    calls = [_call(each) for each in values]
    if calls and all(calls):
        return [call for call in calls if call]
    return _from_text(value) if isinstance(value, str) else None


def _call(value: Any) -> dict[str, Any] | None:
    function = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(function, dict) or not isinstance(name := function.get("name"), str):
        return None
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = _json(arguments)
    return {"name": name, "arguments": arguments} if isinstance(arguments, dict) else None


# `name[ARGS]{…}` (Mistral) and `name` with a fenced block of JSON (DeepSeek).
NAMED = re.compile(
    r"\s*(?:function<｜tool▁sep｜>)?(?P<name>[\w.:/-]+)\s*(?:<｜tool▁sep｜>)?(?:\[CALL_ID\][\w-]*)?"
    r"(?:\[ARGS\]|```json)?\s*(?P<rest>\{.*)",
    re.DOTALL,
)


def _from_text(text: str) -> list[dict[str, Any]] | None:
    calls = []
    for part in re.split(r"\[TOOL_CALLS\]", text):
        match = NAMED.match(part)
        arguments = _json(match["rest"].rstrip("`\n ")) if match else None
        if match is None or not isinstance(arguments, dict):
            return None
        calls.append({"name": match["name"], "arguments": arguments})
    return calls or None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def bare_calls(text: str) -> list[dict[str, Any]] | None:
    """The calls of an answer that is nothing else: JSON objects, with semicolons between (Llama 3)."""
    body = text.strip().removeprefix("<|python_tag|>")
    values = [_json(part) for part in re.split(r";\s*(?=\{)", body)]
    return read_calls(values) if all(isinstance(value, dict) for value in values) else None
