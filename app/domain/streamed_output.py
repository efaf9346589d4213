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


def is_whole(output: Any) -> bool:
    """Whether a run that streamed has ended with more than its pieces."""
    return isinstance(output, dict) and isinstance(output.get(CHUNKS), list)
