"""How much of what a worker has claimed and not begun goes back, so that idle siblings have work. Arithmetic
alone: no clock, no thread."""

from collections.abc import Sequence

LEAST_SECONDS = 1.0  # of work that waits: what begins sooner is begun sooner here than anywhere else


def count_to_hand_back(seconds: Sequence[float], idle: int) -> int:
    """How many of so many, each of which takes this worker so long, go to `idle` siblings: equal parts for
    them and for this one, of an odd number one more for them, as this one is at work."""
    if not idle or sum(seconds) < LEAST_SECONDS:
        return 0
    return -(-len(seconds) * idle // (idle + 1))
