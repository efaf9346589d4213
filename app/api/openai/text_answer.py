"""How the answer to a completion or a chat completion is written, whole and as events of a stream."""

import time
from collections.abc import Sequence
from typing import Any

from app.domain.predictions import Prediction


class TextAnswer:
    """The answer to one request; `prefixes` are put before the texts (completions' `echo`)."""

    def __init__(
        self, chat: bool, model: str, predictions: Sequence[Prediction], prefixes: Sequence[str] = ()
    ) -> None:
        self.chat = chat
        self._model = model
        self._prefixes = prefixes
        self._id = ("chatcmpl-" if chat else "cmpl-") + predictions[0].id
        self._created = int(time.time())

    def prefix(self, index: int) -> str:
        return self._prefixes[index] if self._prefixes else ""

    def whole(self, predictions: Sequence[Prediction]) -> dict[str, Any]:
        """The answer of a request that is not streamed."""
        choices = [self._choice(index, prediction) for index, prediction in enumerate(predictions)]
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._head(kind), "choices": choices, "usage": usage_as_json(predictions)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def _choice(self, index: int, prediction: Prediction) -> dict[str, Any]:
        text = self.prefix(index) + join_output(prediction.output)
        content: dict[str, Any] = (
            {"message": {"role": "assistant", "content": text, "refusal": None}}
            if self.chat
            else {"text": text}
        )
        return {"index": index, **content, "logprobs": None, "finish_reason": finish_reason(prediction)}

    def piece(
        self, index: int, text: str | None, reason: str | None = None, *, role: bool = False
    ) -> dict[str, Any]:
        """One event of a stream; `text` None for the last of a choice."""
        delta = ({"role": "assistant"} if role else {}) | ({"content": text} if text is not None else {})
        content: dict[str, Any] = {"delta": delta} if self.chat else {"text": text or ""}
        return self.event([{"index": index, **content, "logprobs": None, "finish_reason": reason}])

    def event(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._head("chat.completion.chunk" if self.chat else "text_completion"), "choices": choices}


def join_output(output: Any) -> str:
    """The text of a model's output: a string, or pieces of one."""
    return "".join(map(str, output)) if isinstance(output, list) else "" if output is None else str(output)


def finish_reason(prediction: Prediction) -> str:
    """`stop` or `length`, as the runtime reports it in the words that OpenAI uses."""
    return str(prediction.metrics.get("finish_reason", "stop"))


def usage_as_json(predictions: Sequence[Prediction]) -> dict[str, int]:
    """Tokens of all; 0 where the model does not count them."""
    read = sum(int(prediction.metrics.get("prompt_tokens", 0)) for prediction in predictions)
    written = sum(int(prediction.metrics.get("output_tokens", 0)) for prediction in predictions)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
