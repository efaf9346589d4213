"""Whether the weights have a row for each id that the tokenizer gives. Tokens are added to tokenizers whose
model is never resized: such an id is an IndexError on a CPU, and on a GPU an assertion that kills the
process."""

from collections.abc import Iterable, Sequence
from typing import Any


class KnownIds:
    """Made once at load; costs nothing where every id of the tokenizer has its row."""

    def __init__(self, tokenizer: Any, net: Any) -> None:
        self._tokenizer = tokenizer
        self.rows = embedding_rows(net)
        self.needs_check = bool(self.rows) and highest_id(tokenizer) >= self.rows

    def check(self, texts: Iterable[Sequence[int]]) -> None:
        """Raises ValueError for the first id without a row."""
        if not self.needs_check:
            return
        for ids in texts:
            if ids and (highest := max(ids)) >= self.rows:
                token = self._tokenizer.convert_ids_to_tokens(highest)
                raise ValueError(
                    f"the text has {token!r}, token {highest}, which the tokenizer knows and the weights do"
                    f" not: they have {self.rows} rows"
                )


def embedding_rows(net: Any) -> int:
    """Rows of the matrix of input embeddings; 0 where the network has none, or does not say."""
    try:
        return int(getattr(net.get_input_embeddings(), "num_embeddings", 0))
    except (NotImplementedError, AttributeError):
        return 0


def highest_id(tokenizer: Any) -> int:
    """Of all ids that the tokenizer may give."""
    return int(max([len(tokenizer) - 1, *getattr(tokenizer, "added_tokens_decoder", {})]))
