"""Token ids of texts, without what transformers wraps around a tokenizer: for one text, in a process that has
rested, that takes as long again (0.25 ms with it, 0.13 without)."""

from collections.abc import Callable
from typing import Any

Tokenize = Callable[[list[str]], list[list[int]]]
LONG = 1_000  # words, which a limit below cuts; an encoder may have none (2 ** 31)
PROBES = ("", "hello", "Grüße aus 東京 🙂", "[CLS] <s> [SEP] </s>")


def fast_tokenize(tokenizer: Any, limit: int) -> Tokenize:
    """A function that gives the `input_ids` of `tokenizer(texts, truncation=True, max_length=limit)`. The
    tokenizer must not be used otherwise: what it cuts is its state."""

    def wrapped(texts: list[str]) -> list[list[int]]:
        return tokenizer(texts, truncation=True, max_length=limit)["input_ids"] if texts else []

    def direct(texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch(texts)]

    probes = [*PROBES, "word " * (min(limit, LONG) + 1)]
    expected = wrapped(probes)  # it also sets what is cut
    has_backend = getattr(tokenizer, "backend_tokenizer", None) is not None
    return direct if has_backend and direct(probes) == expected else wrapped
