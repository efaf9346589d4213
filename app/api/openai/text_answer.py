"""How the answer to a completion or a chat completion is written, whole and as events of a stream."""

import time
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from app.api.model_calls.text_output import TextOutput, count_tokens, finish_reason, read_output
from app.domain.predictions import Prediction


class TextAnswer:
    """The answer to one request; `prefixes` are put before the texts (completions' `echo`); `logprobs`: the
    caller asked for them; `older_calls`: tool calls are written as `function_call`."""

    def __init__(
        self,
        chat: bool,
        model: str,
        predictions: Sequence[Prediction],
        prefixes: Sequence[str] = (),
        *,
        logprobs: bool = False,
        older_calls: bool = False,
    ) -> None:
        self.chat = chat
        self._model = model
        self._prefixes = prefixes
        self._has_logprobs, self._older_calls = logprobs, older_calls
        self._id = ("chatcmpl-" if chat else "cmpl-") + predictions[0].id
        self._created = int(time.time())
        self._sent: dict[int, TextOutput] = {}  # what of each choice was streamed so far

    def prefix(self, index: int) -> str:
        return self._prefixes[index] if self._prefixes else ""

    def whole(self, predictions: Sequence[Prediction], keep: int = 1, of: int = 1) -> dict[str, Any]:
        """The answer of a request that is not streamed; of each `of` predictions the `keep` likeliest."""
        kept = [
            number
            for first in range(0, len(predictions), of)
            for number in likeliest(predictions, range(first, first + of), keep)
        ]
        choices = [self._choice(index, number, predictions[number]) for index, number in enumerate(kept)]
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._head(kind), "choices": choices, "usage": usage_as_json(predictions)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def _choice(self, index: int, number: int, prediction: Prediction) -> dict[str, Any]:
        output = read_output(prediction.output)
        if self.chat:
            content: dict[str, Any] = {"message": self._message(output)}
        else:
            content = {"text": self.prefix(number) + output.content}
        reason = self._reason(finish_reason(prediction))
        return {"index": index, **content, "logprobs": self._logprobs(output), "finish_reason": reason}

    def _message(self, output: TextOutput) -> dict[str, Any]:
        text = output.content if output.content or not output.tool_calls else None
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if output.reasoning:
            message["reasoning_content"] = output.reasoning
        return message | self._calls(output.tool_calls)

    def _calls(self, calls: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if not calls:
            return {}
        if self._older_calls:
            return {"function_call": calls[0]["function"]}
        return {"tool_calls": [{name: call[name] for name in ("id", "type", "function")} for call in calls]}

    def _reason(self, reason: str | None) -> str | None:
        return "function_call" if reason == "tool_calls" and self._older_calls else reason

    def _logprobs(self, output: TextOutput, before: str = "") -> dict[str, Any] | None:
        if not self._has_logprobs or output.logprobs is None:
            return None
        if self.chat:
            return {"content": [chat_logprob(token) for token in output.logprobs], "refusal": None}
        return completion_logprobs(output.logprobs, len(before))

    def piece(self, index: int, piece: dict[str, Any], *, role: bool = False) -> dict[str, Any]:
        """One event of a stream."""
        now = TextOutput()
        now.add(piece)
        sent = self._sent.setdefault(index, TextOutput())
        delta = ({"role": "assistant"} if role else {}) | self._delta(piece, len(sent.tool_calls))
        content: dict[str, Any] = {"delta": delta} if self.chat else {"text": now.content}
        logprobs = self._logprobs(now, sent.content)
        sent.add({name: value for name, value in piece.items() if name != "logprobs"})
        return self.event([{"index": index, **content, "logprobs": logprobs, "finish_reason": None}])

    def _delta(self, piece: dict[str, Any], number: int) -> dict[str, Any]:
        delta = {
            name: piece[name] for name in ("content", "reasoning_content") if piece.get(name) is not None
        }
        calls = self._calls(piece.get("tool_calls") or ())
        for offset, call in enumerate(calls.get("tool_calls", ())):
            call["index"] = number + offset
        return delta | calls

    def ending(self, index: int, reason: str) -> dict[str, Any]:
        """The last event of a choice."""
        content: dict[str, Any] = {"delta": {}} if self.chat else {"text": ""}
        return self.event(
            [{"index": index, **content, "logprobs": None, "finish_reason": self._reason(reason)}]
        )

    def event(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._head("chat.completion.chunk" if self.chat else "text_completion"), "choices": choices}


def likeliest(predictions: Sequence[Prediction], numbers: range, keep: int) -> list[int]:
    """The `keep` of these whose tokens their model found likeliest, in their own sequence."""
    if keep >= len(numbers):
        return list(numbers)
    outputs = {number: read_output(predictions[number].output) for number in numbers}
    return sorted(sorted(numbers, key=lambda number: -outputs[number].mean_logprob)[:keep])


def chat_logprob(token: dict[str, Any]) -> dict[str, Any]:
    """A token's log probability as chat completions show it."""
    return {
        "token": token["token"],
        "logprob": token["logprob"],
        "bytes": token["bytes"],
        "top_logprobs": [dict(other) for other in token["top"]],
    }


def completion_logprobs(tokens: Sequence[dict[str, Any]], start: int) -> dict[str, Any]:
    """As completions show them; the first token of an echoed prompt has none. `start`: characters of the
    choice before them."""
    texts = [token["token"] for token in tokens]
    offsets = list(accumulate(map(len, texts), initial=start))[:-1]
    top = [
        {other["token"]: other["logprob"] for other in token["top"]} if token["logprob"] is not None else None
        for token in tokens
    ]
    chances = [token["logprob"] for token in tokens]
    return {"tokens": texts, "token_logprobs": chances, "top_logprobs": top, "text_offset": offsets}


def usage_as_json(predictions: Sequence[Prediction]) -> dict[str, int]:
    """Tokens of all; 0 where the model does not count them."""
    read, written = count_tokens(predictions)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
