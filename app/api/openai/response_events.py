"""A response's output, item by item, and the events that it is streamed as: the same ones, with the same
numbers, however often it is read."""

from collections.abc import Iterable
from typing import Any

import orjson

from app.api.error_shapes import openai_shape
from app.api.model_calls.answer_stream import COMMENT, StreamWire
from app.api.model_calls.text_output import as_piece
from app.api.openai.text_answer import chat_logprob

Event = dict[str, Any]
# A growing item: the types of its part, its events, and the member that holds its text.
KINDS = {
    "message": ("output_text", "response.output_text", "msg"),
    "reasoning": ("reasoning_text", "response.reasoning_text", "rs"),
}


class ResponseEvents:
    """Makes events of the pieces of one prediction's output; `items` is what they add up to."""

    def __init__(self, prediction_id: str) -> None:
        self._id = prediction_id
        self._number = 0
        self._open: Event | None = None
        self.items: list[Event] = []

    def begin(self, response: Event) -> list[Event]:
        """The first events; `response` is how it is then."""
        return [self.event(f"response.{name}", response=response) for name in ("created", "in_progress")]

    def event(self, kind: str, **members: Any) -> Event:
        """An event with the next number."""
        self._number += 1
        return {"type": kind, "sequence_number": self._number - 1, **members}

    def add_piece(self, piece: Event) -> list[Event]:
        """The events that a piece brings."""
        events: list[Event] = []
        if thoughts := piece.get("reasoning_content"):
            events += self._text("reasoning", thoughts)
        if (text := piece.get("content")) or "logprobs" in piece:
            events += self._text("message", text or "", piece.get("logprobs") or ())
        for call in piece.get("tool_calls") or ():
            events += self._call(call)
        return events

    def _text(self, kind: str, text: str, logprobs: Iterable[Event] = ()) -> list[Event]:
        events = [] if self._open and self._open["type"] == kind else self._begin_text(kind)
        scores = [chat_logprob(token) for token in logprobs]
        part = self._item["content"][0]
        part["text"] += text
        delta: Event = {"delta": text}
        if kind == "message":
            part["logprobs"] += scores
            delta["logprobs"] = scores
        return [*events, self._part_event(f"{KINDS[kind][1]}.delta", **delta)]

    def _begin_text(self, kind: str) -> list[Event]:
        part_type, _, prefix = KINDS[kind]
        events = self.end_item()
        part: Event = {"type": part_type, "text": ""}
        item: Event = {"type": kind, "status": "in_progress", "content": []}
        if kind == "message":
            part |= {"annotations": [], "logprobs": []}
            item["role"] = "assistant"
        else:
            item["summary"] = []
        events.append(self._add_item(prefix, item))
        self._item["content"] = [part]
        begun = {**part, "logprobs": []} if kind == "message" else dict(part)
        return [*events, self._part_event("response.content_part.added", part=begun)]

    def _call(self, call: Event) -> list[Event]:
        function = call["function"]
        item = {"type": "function_call", "status": "in_progress", "call_id": call["id"], "arguments": ""}
        events = [*self.end_item(), self._add_item("fc", {**item, "name": function["name"]})]
        self._item["arguments"] = function["arguments"]
        delta = self._item_event("response.function_call_arguments.delta", delta=function["arguments"])
        return [*events, delta, *self.end_item()]

    def end_item(self, status: str = "completed") -> list[Event]:
        """The end of the item that is open, if one is."""
        if self._open is None:
            return []
        item, self._open["status"] = self._open, status
        if item["type"] == "function_call":
            shown = {"arguments": item["arguments"], "name": item["name"]}
            events = [self._item_event("response.function_call_arguments.done", **shown)]
        else:
            part = item["content"][0]
            done = {name: part[name] for name in ("text", "logprobs") if name in part}
            events = [
                self._part_event(f"{KINDS[item['type']][1]}.done", **done),
                self._part_event("response.content_part.done", part=part),
            ]
        index, self._open = len(self.items) - 1, None
        return [*events, self.event("response.output_item.done", output_index=index, item=item)]

    @property
    def _item(self) -> Event:
        if self._open is None:
            raise RuntimeError("no item of the response is open")
        return self._open

    def _add_item(self, prefix: str, item: Event) -> Event:
        self._open = {"id": f"{prefix}_{self._id}{len(self.items)}", **item}
        self.items.append(self._open)
        return self.event(
            "response.output_item.added", output_index=len(self.items) - 1, item=dict(self._open)
        )

    def _item_event(self, kind: str, **members: Any) -> Event:
        return self.event(kind, item_id=self._item["id"], output_index=len(self.items) - 1, **members)

    def _part_event(self, kind: str, **members: Any) -> Event:
        return self._item_event(kind, content_index=0, **members)


def output_items(prediction_id: str, output: Any) -> list[Event]:
    """The items of a whole output."""
    events = ResponseEvents(prediction_id)
    pieces = output if isinstance(output, list) else [] if output is None else [output]
    for piece in map(as_piece, pieces):
        events.add_piece(piece)
    events.end_item()
    return events.items


def encode_event(event: Event) -> bytes:
    """One event on the wire; its name is its type."""
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"


def stream_error_shape(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """An error in mid-stream, which clients raise."""
    shown = openai_shape(status, message, param, code)
    return {"type": "error", **shown, "message": message, "param": param, "code": shown["error"]["code"]}


WIRE = StreamWire(encode_event, stream_error_shape, comment=COMMENT)
