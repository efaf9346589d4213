"""Splits a model's answer, as it grows, into pieces: text as it is, thoughts and tool calls as objects of the
form that OpenAI's deltas have.

`transformers` parses the regions; what it cannot parse is given out as the text that it is. Knows no tokens.
"""

import json
from collections.abc import Sequence
from typing import Any, Protocol

from app.runtimes.text.response_formats import (
    CALLS,
    THOUGHTS,
    ResponseFormat,
    bare_calls,
    canonical,
    read_calls,
)

Piece = str | dict[str, Any]


class Pieces(Protocol):
    """What splits one answer. `has_called`: a tool call was among its pieces."""

    has_called: bool

    def feed(self, text: str) -> list[Piece]:
        """What this text completes."""

    def finish(self) -> list[Piece]:
        """What was held back."""


class PlainPieces:
    """The text, and nothing else."""

    def __init__(self) -> None:
        self.has_called = False

    def feed(self, text: str) -> list[Piece]:
        return [text] if text else []

    def finish(self) -> list[Piece]:
        return []


class MessagePieces:
    """One answer. `prompt`: what the model continues."""

    def __init__(
        self, form: ResponseFormat, prompt: str, tools: Sequence[dict[str, Any]], ids: "CallIds"
    ) -> None:
        from transformers.utils.chat_parsing import ResponseParser

        template = {**form.template} if form.template else {}
        if not tools:
            template["fields"] = {
                name: field for name, field in template["fields"].items() if canonical(name) != CALLS
            }
        self._parser = ResponseParser(template, prefix=prefix_of(form, prompt), tools=list(tools) or None)
        self._raw = ""  # of the region that is open, if what it holds is read at its end
        self._is_new = bool(form.thinking)  # a region has begun or ended, and nothing but space came since
        self._ids = ids
        self.has_called = False

    def feed(self, text: str) -> list[Piece]:
        return self._pieces(self._parser.feed(text)) if text else []

    def finish(self) -> list[Piece]:
        try:
            _, events = self._parser.finalize()
        except (ValueError, KeyError):  # a region that broke off
            return self._flush()
        return [*self._pieces(events), *self._flush()]

    def _pieces(self, events: Sequence[dict[str, Any]]) -> list[Piece]:
        pieces: list[Piece] = []
        for event in events:
            name = canonical(event["field"])
            if event["type"] == "region_chunk" and name == CALLS:
                self._raw += event["text"]
            elif event["type"] == "region_chunk":
                pieces += self._text(name, event["text"])
            else:
                self._is_new = True
            if event["type"] == "region_close" and name == CALLS:
                pieces += self._close_call(event["value"])
        return pieces

    def _text(self, name: str, text: str) -> list[Piece]:
        """A piece of a region, without the space that templates put at its beginning."""
        text = text.lstrip() if self._is_new else text
        if not text:
            return []
        self._is_new = False
        return [{THOUGHTS: text} if name == THOUGHTS else text]

    def _close_call(self, value: Any) -> list[Piece]:
        calls = read_calls(value)
        if calls is None:
            return self._flush()
        self._raw = ""
        self.has_called = True
        return [{CALLS: [self._ids.as_call(call) for call in calls]}]

    def _flush(self) -> list[Piece]:
        raw, self._raw = self._raw, ""
        return [raw] if raw else []


class BarePieces:
    """An answer that is one or several calls and nothing else, or a text. It is a text from the first
    character on that no JSON object begins with."""

    MARK = "<|python_tag|>"

    def __init__(self, ids: "CallIds") -> None:
        self._held, self._is_text = "", False
        self._ids = ids
        self.has_called = False

    def feed(self, text: str) -> list[Piece]:
        if self._is_text:
            return [text] if text else []
        self._held += text
        start = self._held.lstrip()
        if not start or start.startswith(("{", self.MARK)) or self.MARK.startswith(start):
            return []
        self._is_text = True
        return self._flush()

    def finish(self) -> list[Piece]:
        if self._held and (calls := bare_calls(self._held)):
            self.has_called = True
            return [{CALLS: [self._ids.as_call(call) for call in calls]}]
        return self._flush()

    def _flush(self) -> list[Piece]:
        held, self._held = self._held, ""
        return [held] if held else []


class CallIds:
    """The ids of one answer's calls, and which functions may be called."""

    def __init__(self, prefix: str) -> None:
        self._prefix, self._count = prefix, 0

    def as_call(self, call: dict[str, Any]) -> dict[str, Any]:
        """A call of the form that OpenAI's clients read: its arguments are JSON as a text."""
        self._count += 1
        arguments = json.dumps(call["arguments"], ensure_ascii=False)
        return {
            "id": f"call_{self._prefix}{self._count}",
            "type": "function",
            "function": {"name": call["name"], "arguments": arguments},
        }


def prefix_of(form: ResponseFormat, prompt: str) -> str:
    """What of the prompt is part of the answer: all of it for a template of the tokenizer's own, which knows
    where an answer begins; else the mark of thoughts that the chat template has opened."""
    if form.own:
        return prompt
    return form.thinking[0] if form.thinking and prompt.rstrip().endswith(form.thinking[0]) else ""


def split_pieces(form: ResponseFormat, prompt: str, tools: Sequence[dict[str, Any]], name: str) -> Pieces:
    """What splits the answer to this prompt; `name` is in the ids of its calls, so that a run that is
    repeated has the same."""
    ids = CallIds(name)
    if form.bare and tools:
        return BarePieces(ids)
    if form.template is None or (not tools and form.thinking is None and not form.own):
        return PlainPieces()
    return MessagePieces(form, prompt, tools, ids)
