"""Which texts and numbers Postgres and JSON can hold. Pure."""

import math

MAX_INTEGER = 2**63 - 1  # Postgres and most clients cannot hold more


def text_fault(value: str) -> str | None:
    """Why a text cannot be stored, as the end of a sentence: Postgres holds no NUL, UTF-8 no lone
    surrogates."""
    if "\x00" in value:
        return "must not contain the NUL character"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "must be valid Unicode (it has a lone surrogate)"
    return None


def number_fault(value: int | float) -> str | None:
    """Why a number cannot be stored and sent: JSON has no NaN or infinity, Postgres no integer above 64
    bits."""
    if isinstance(value, int):
        return "must fit in 64 bits" if abs(value) > MAX_INTEGER else None
    return None if math.isfinite(value) else "must be finite"
