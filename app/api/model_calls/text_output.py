"""What a text model's output holds: its text, and where it was asked for, thoughts, tool calls and log
probabilities.

A piece of the output is a text, or an object with some of `content`, `reasoning_content`, `tool_calls` and
`logprobs` (app/runtimes/text/message_pieces.py makes them). Knows no wire format.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from app.domain.predictions import Prediction

Piece = dict[str, Any]
MEMBERS = {"content", "reasoning_content", "tool_calls", "logprobs"}


@dataclass(slots=True)
class TextOutput:
    """One whole answer. `logprobs` is a list of tokens ({token, logprob, bytes, top}), None when none were
    asked for."""

    content: str = ""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[dict[str, Any]] | None = None

    def add(self, piece: Piece) -> None:
        self.content += piece.get("content") or ""
        self.reasoning += piece.get("reasoning_content") or ""
        self.tool_calls += piece.get("tool_calls") or ()
        if "logprobs" in piece:
            self.logprobs = [*(self.logprobs or ()), *piece["logprobs"]]

    @property
    def mean_logprob(self) -> float:
        """Of its tokens; how likely the model found its own answer."""
        known = [token["logprob"] for token in self.logprobs or () if token["logprob"] is not None]
        return sum(known) / len(known) if known else float("-inf")


def as_piece(value: Any) -> Piece:
    """A piece of an output, whatever a model has put there."""
    if isinstance(value, dict) and value.keys() <= MEMBERS:
        return value
    return {"content": "" if value is None else str(value)}


def read_output(output: Any) -> TextOutput:
    """The whole of an output: a text, or pieces of one."""
    pieces: Iterable[Any] = output if isinstance(output, list) else [output]
    whole = TextOutput()
    for piece in map(as_piece, pieces):
        whole.add(piece)
    return whole


def finish_reason(prediction: Prediction) -> str:
    """`stop`, `length` or `tool_calls`, as the runtime reports it in the words that OpenAI uses."""
    return str(prediction.metrics.get("finish_reason", "stop"))


def count_tokens(predictions: Iterable[Prediction]) -> tuple[int, int]:
    """Tokens read and written by all; 0 where the model does not count them."""
    read = written = 0
    for prediction in predictions:
        read += int(prediction.metrics.get("prompt_tokens", 0))
        written += int(prediction.metrics.get("output_tokens", 0))
    return read, written
