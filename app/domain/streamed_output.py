"""Which pieces of an output were streamed while it was made. Pure functions."""

from typing import Any

# Of an output that is an object, the member that holds what was streamed: of speech, its segments.
CHUNKS = "chunks"


def list_pieces(output: Any) -> list[Any]:
    """The elements of a list, the `chunks` of an object that has some, else the output as its one piece."""
    if isinstance(output, list):
        return output
    if isinstance(output, dict) and isinstance(chunks := output.get(CHUNKS), list):
        return chunks
    return [] if output is None else [output]


def output_of(pieces: list[Any], whole: Any) -> Any:
    """Of a run that streamed `pieces` and ended with the `whole` (None: not with an answer): the pieces, if
    there are any, unless the whole is an object that holds them."""
    has_more = isinstance(whole, dict) and isinstance(whole.get(CHUNKS), list)
    return whole if has_more else pieces or whole
