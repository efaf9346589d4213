"""Beginnings of a text that are long enough for a model's limit: a text of a million tokens takes seconds to
tokenise, where 512 are read. Knows no tokenizer."""

from collections.abc import Iterator

SHORTEST = 4_096  # characters; what is shorter is tokenised whole
CHARACTERS = 8  # of one token, generously; a text of longer ones is looked at in more beginnings
FACTOR = 8  # between one beginning and the next


def first_size(tokens: int) -> int:
    """Characters of the first beginning."""
    return max(SHORTEST, CHARACTERS * tokens)


def beginnings(text: str, tokens: int) -> Iterator[str]:
    """Longer and longer ones, the last is the text: take the first that has enough tokens. All together are
    hardly longer than the last."""
    size = first_size(tokens)
    while size < len(text):
        yield text[:size]
        size *= FACTOR
    yield text
