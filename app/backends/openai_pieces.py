"""The events of a streamed completion as pieces of an output. Pure."""

from dataclasses import dataclass, field
from typing import Any

from app.domain.backend_retry import Fault, UpstreamFailed


@dataclass(slots=True)
class StreamedText:
    """What has come so far. `is_whole`: the server has said that this is all. Tool calls come in fragments,
    and are one last piece."""

    pieces: list[Any] = field(default_factory=list)
    is_whole: bool = False
    finish_reason: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    tool_calls: dict[int, dict[str, Any]] = field(default_factory=dict)

    def add(self, event: Any) -> Any:
        """The piece that this event holds, if any. Raises UpstreamFailed for an error in mid-stream, and for
        what is no such event."""
        if not isinstance(event, dict):
            raise UpstreamFailed("sent an event that is no object")
        if error := event.get("error"):
            raise _failure(error)
        self.usage = event.get("usage") or self.usage
        choices = event.get("choices")
        if not choices:
            return None
        choice = choices[0]
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        piece = self._piece(choice)
        if piece is not None:
            self.pieces.append(piece)
        return piece

    def _piece(self, choice: dict[str, Any]) -> Any:
        delta = choice.get("delta") or {}
        for fragment in delta.get("tool_calls") or ():
            self._add_fragment(fragment)
        text = choice.get("text") or delta.get("content")
        thoughts = delta.get("reasoning_content") or delta.get("reasoning")
        if thoughts:
            return {"reasoning_content": thoughts} | ({"content": text} if text else {})
        return text or None

    def _add_fragment(self, fragment: dict[str, Any]) -> None:
        known = self.tool_calls.setdefault(int(fragment.get("index") or 0), {"name": "", "arguments": ""})
        known["id"] = fragment.get("id") or known.get("id") or ""
        function = fragment.get("function") or {}
        known["name"] += function.get("name") or ""
        known["arguments"] += function.get("arguments") or ""

    def last_piece(self) -> Any:
        """What is due when all has come. Raises UpstreamFailed when the stream was cut."""
        if not (self.is_whole or self.finish_reason):
            raise UpstreamFailed("broke its stream off before the end")
        if not self.tool_calls:
            return None
        calls = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for _, call in sorted(self.tool_calls.items())
        ]
        piece = {"tool_calls": calls}
        self.pieces.append(piece)
        return piece

    def metrics(self) -> dict[str, Any]:
        """As text generation here has them."""
        counted = {
            "prompt_tokens": self.usage.get("prompt_tokens"),
            "output_tokens": self.usage.get("completion_tokens"),
        }
        known = {name: int(value) for name, value in counted.items() if value is not None}
        return {**known, "finish_reason": self.finish_reason or "stop"}


def _failure(error: Any) -> UpstreamFailed:
    message = error.get("message") if isinstance(error, dict) else error
    code = error.get("code") if isinstance(error, dict) else None
    fault = Fault.INPUT if code in (400, 422, "invalid_input") else Fault.BACKEND
    return UpstreamFailed(f"failed in mid-stream: {str(message)[:300]}", fault)
