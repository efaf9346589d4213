"""How much of a text a model reads. Longer ones are cut at the model's limit, which is said in the
prediction's metrics and log; what a task cannot do without must lie before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.runtimes.encoders.embedding import positions_of


@dataclass(frozen=True, slots=True)
class TextLength:
    """Of one input, in tokens: what is read of it, and what is cut off."""

    read: int
    cut: int

    def metrics(self) -> dict[str, int]:
        return {"input_tokens": self.read} | ({"cut_tokens": self.cut} if self.cut else {})

    def log_line(self) -> str:
        """What is said of a text that was cut; "" of others."""
        if not self.cut:
            return ""
        return f"The text has {self.read + self.cut} tokens; the model reads the first {self.read} of them.\n"


class TextLimits:
    """Of one tokenizer and network; also makes the tokenizer cut there, wherever it is asked to cut."""

    def __init__(self, tokenizer: Any, net: Any) -> None:
        self._tokenizer = tokenizer
        self.limit = min(int(tokenizer.model_max_length), positions_of(net.config))
        tokenizer.model_max_length = self.limit

    def token_ids(self, text: str) -> list[int]:
        """Of the whole text, with special tokens, uncut."""
        ids: list[int] = self._tokenizer(text, truncation=False, verbose=False)["input_ids"]
        return ids

    def length(self, ids: Sequence[int]) -> TextLength:
        return TextLength(min(len(ids), self.limit), max(0, len(ids) - self.limit))

    def check_mask(self, ids: Sequence[int]) -> None:
        """Raises ValueError when no mask token is read."""
        mask, token = self._tokenizer.mask_token_id, self._tokenizer.mask_token
        if mask not in ids:
            raise ValueError(f"text: has no {token}, the model's mask token")
        kept = self.limit - self._tokenizer.num_special_tokens_to_add()
        if mask not in list(ids)[: kept + 1]:
            raise ValueError(
                f"text: its {token} lies behind the first {self.limit} tokens, which is what the model reads"
            )
