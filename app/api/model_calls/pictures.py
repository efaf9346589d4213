"""Pictures in conversations, as every edge hands them to a model that sees: a part of a message stands for
each, and the input `images` says where they are, in the same sequence. Knows no wire format and no picture.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.api.model_calls.calls import Call
from app.api.model_calls.failures import refused

SCHEMES = ("http://", "https://", "data:")
INPUT = "images"
Content = str | list[dict[str, Any]]


def picture_part(url: Any, path: str, field: str) -> dict[str, Any]:
    """A part of a message, until `conversation_input` takes it. `path`: what of the request is to blame when
    the model does not see, `field`: what has the URL. Raises InvalidRequest."""
    if not isinstance(url, str) or not url.startswith(SCHEMES):
        raise refused(field, "must be an http, https or data URL")
    return {"type": "image", "url": url, "path": path}


def data_url(media_type: str, base64: str) -> str:
    """Of a picture that is sent without its scheme."""
    return f"data:{media_type};base64,{base64}"


def content_of(parts: Sequence[str | dict[str, Any]]) -> Content:
    """A content of texts and pictures: one text where there is no picture."""
    if not any(isinstance(part, dict) for part in parts):
        return "".join(part for part in parts if isinstance(part, str))
    return [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]


def conversation_input(call: Call, messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The model's inputs for a conversation. Raises InvalidRequest for a picture when it does not see."""
    pictures = list(_pictures(messages))
    if not pictures:
        return {"messages": messages}
    if INPUT not in call.inputs():
        what = "is a picture, and {model} reads text only: it takes no `images`"
        raise refused(pictures[0]["path"], what.format(model=call.version.model))
    placed = [{**message, "content": _without_urls(message["content"])} for message in messages]
    return {"messages": placed, INPUT: [part["url"] for part in pictures]}


def with_pictures(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages of a model's input, as `conversation_input` took them, to go on from."""
    messages: list[dict[str, Any]] = values["messages"]
    if not (urls := values.get(INPUT)):
        return messages
    left = iter(urls)
    return [{**message, "content": _with_urls(message["content"], left)} for message in messages]


def _pictures(messages: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for message in messages:
        if isinstance(content := message.get("content"), list):
            yield from (part for part in content if part["type"] == "image")


def _without_urls(content: Content) -> Content:
    if isinstance(content, str):
        return content
    return [{"type": "image"} if part["type"] == "image" else part for part in content]


def _with_urls(content: Any, urls: Iterator[str]) -> Any:
    if not isinstance(content, list):
        return content
    path = "previous_response_id"
    return [
        {"type": "image", "url": next(urls), "path": path} if part["type"] == "image" else part
        for part in content
    ]
