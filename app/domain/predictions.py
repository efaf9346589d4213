"""A prediction's states, its legal moves, and its identifier. Knows no database and no clock."""

import secrets
from enum import StrEnum

# Crockford's base 32 in lower case: no i, l, o, u. A prediction id is 48 bits of milliseconds and 80 random bits.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_LENGTH = 26


class Status(StrEnum):
    """The wire values of Replicate's HTTP API."""

    STARTING = "starting"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED})

# processing -> starting is recovery's alone: the worker died or handed the work back.
MOVES: dict[Status, frozenset[Status]] = {
    Status.STARTING: frozenset({Status.PROCESSING, Status.CANCELED, Status.FAILED}),
    Status.PROCESSING: frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.STARTING}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELED: frozenset(),
}


def may_move(old: Status, new: Status) -> bool:
    """Whether the state machine has this edge."""
    return new in MOVES[old]


def sources_of(new: Status) -> tuple[Status, ...]:
    """The states from which `new` can be reached; the WHERE clause of a move is made of them."""
    return tuple(old for old in Status if new in MOVES[old])


def new_id(milliseconds: int) -> str:
    """A fresh identifier: 26 characters, sorts by time (ULID's layout, in lower case).

    `milliseconds` is Unix time. Two ids of one millisecond sort at random.
    """
    number = (milliseconds << 80) | secrets.randbits(80)
    digits = []
    for _ in range(ID_LENGTH):
        number, low = divmod(number, 32)
        digits.append(ALPHABET[low])
    return "".join(reversed(digits))


def is_id(text: str) -> bool:
    """Whether a string has the form of a prediction id; anything else is not worth a query."""
    return len(text) == ID_LENGTH and all(c in ALPHABET for c in text)


def retry_delay(crashes: int) -> float:
    """Seconds to wait before the next attempt after `crashes` deaths: 0, 1, 4, 9 … at most 60.

    The first retry is at once: most deaths are of the worker, not of the input.
    """
    return float(min(60, (max(crashes, 1) - 1) ** 2))
