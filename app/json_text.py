"""A value as its JSON, written once: what is stored, sent and measured are the same bytes. Knows nothing of
what the value is."""

from typing import Any

import orjson


class JsonText:
    """`raw` is UTF-8. `len` is its size in bytes, which is what groups of such values are bounded by."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    @classmethod
    def from_value(cls, value: Any) -> "JsonText":
        """Raises TypeError for what JSON cannot hold: a lone surrogate, an integer of more than 64 bits."""
        return cls(orjson.dumps(value))

    def __len__(self) -> int:
        return len(self.raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JsonText) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"JsonText({len(self.raw)} bytes)"

    @property
    def fragment(self) -> orjson.Fragment:
        """To be put into what orjson writes down: copied, not parsed again."""
        return orjson.Fragment(self.raw)

    def value(self) -> Any:
        """The value itself, read anew."""
        return orjson.loads(self.raw)
