"""What a storage is. Every implementation passes one contract suite (tests/storage)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from app.domain.errors import NotFound

BLOCK = 1 << 18  # bytes read at once
LONGEST_KEY = 512  # characters
LONGEST_PART = 255  # bytes: what file systems take as one name
Range = tuple[int, int]  # first and last byte, both included


class Storage(Protocol):
    """Thread-safe. Keys are relative, with `/` between parts. Failures are StorageFailed, absent keys
    NotFound."""

    def put(self, key: str, source: Path | bytes, content_type: str) -> None:
        """Stores a whole file; readers see all of it or nothing. Replaces what was there."""

    def open(self, key: str, part: Range | None = None) -> tuple[Iterator[bytes], int, str]:
        """(blocks, size of the whole file in bytes, content type)."""

    def exists(self, key: str) -> bool:
        """Whether the key holds a file."""

    def delete(self, keys: Sequence[str]) -> None:
        """Removes files; absent ones are no error."""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that begin with `prefix`, sorted."""

    def url(self, key: str, seconds: int, base_url: str, filename: str | None = None) -> str:
        """A URL that reads the file for `seconds` and needs no other credential. `base_url` is the API's."""


def checked(key: str) -> str:
    """The key, if it is a safe relative name; else NotFound, as for a key that nobody stored.

    A first part that begins with a dot is refused: the folder storage keeps its own things there.
    """
    bad = len(key) > LONGEST_KEY or key.startswith(".") or any(ord(c) < 32 or c == "\\" for c in key)
    if bad or not all(_is_part(part) for part in key.split("/")):
        raise missing()
    return key


def _is_part(part: str) -> bool:
    try:
        return part not in ("", ".", "..") and len(part.encode()) <= LONGEST_PART
    except UnicodeEncodeError:  # a lone surrogate: no file system and no signature can hold it
        return False


def missing() -> NotFound:
    """What every storage raises for an absent key."""
    return NotFound("There is no such file.")
