"""How much of a text a model reads. Longer ones are cut at the model's limit, which is said in the
prediction's metrics and log; what a task cannot do without must lie before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.runtimes.encoders.embedding import positions_of
from app.runtimes.text_beginnings import beginnings

HYPOTHESIS = "This example is {}."  # of transformers' zero-shot pipeline
BEYOND = 2  # times the limit: what is known of a text of more tokens


@dataclass(frozen=True, slots=True)
class TextLength:
    """Of one input, in tokens: what is read of it, and what is cut off."""

    read: int
    cut: int
    is_more: bool = False  # was cut; how much was not counted

    def metrics(self) -> dict[str, int]:
        return {"input_tokens": self.read} | ({"cut_tokens": self.cut} if self.cut else {})

    def log_line(self) -> str:
        """What is said of a text that was cut; "" of others."""
        if not self.cut:
            return ""
        count = f"{'more than ' if self.is_more else ''}{self.read + self.cut}"
        return f"The text has {count} tokens; the model reads the first {self.read} of them.\n"


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

    def readable(self, text: str) -> str:
        """The text, or of a very long one a beginning that has more tokens than are read."""
        return next(
            beginning
            for beginning in beginnings(text, BEYOND * self.limit)
            if len(beginning) == len(text) or len(self.token_ids(beginning)) > BEYOND * self.limit
        )

    def label_tokens(self, labels: Sequence[str]) -> int:
        """How many tokens the longest label takes beside a text, in the sentence that the library makes of
        it. Raises ValueError where it leaves the text none."""
        sentences = [HYPOTHESIS.format(label) for label in labels]
        rows = self._tokenizer(sentences, add_special_tokens=False, verbose=False)["input_ids"]
        add = self._tokenizer.num_special_tokens_to_add
        longest = max(map(len, rows)) + add(pair=True) - add(pair=False)
        if longest + add(pair=False) >= self.limit:
            raise ValueError(f"labels: one has {longest} tokens; the model reads {self.limit}, with the text")
        return int(longest)

    def length(self, ids: Sequence[int], *, is_more: bool = False, spare: int = 0) -> TextLength:
        """`spare`: tokens of the limit that something else takes."""
        limit = self.limit - spare
        return TextLength(min(len(ids), limit), max(0, len(ids) - limit), is_more)

    def check_mask(self, ids: Sequence[int], *, is_more: bool = False) -> None:
        """Raises ValueError when no mask token is read."""
        mask, token = self._tokenizer.mask_token_id, self._tokenizer.mask_token
        if mask not in ids and not is_more:
            raise ValueError(f"text: has no {token}, the model's mask token")
        kept = self.limit - self._tokenizer.num_special_tokens_to_add()
        if mask not in list(ids)[: kept + 1]:
            raise ValueError(
                f"text: its {token} lies behind the first {self.limit} tokens, which is what the model reads"
            )
