"""A model's folder on its way from somebody's machine: what it will hold, cut into parts that can be sent in
any order and again. Pure.

A part is an object of the storage, so that every API process can take it and every worker can read it.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

NAME_WORDS = "of letters, digits and -_.+@(), no part of which begins with a dot"
PART_BYTES = 8_388_608  # of each part but a file's last one
MOST_FILES = 2_000  # as of a folder's
UNUSED_HOURS = 48  # that an upload is kept of which no version is made
SHA256 = re.compile(r"[0-9a-f]{64}\Z")
# Every part of a name begins so: hidden files are no content, and workers keep marks of their own there.
NAME = re.compile(r"[\w()+@-][\w.()+@ -]{0,199}(?:/[\w()+@-][\w.()+@ -]{0,199}){0,7}\Z")


@dataclass(frozen=True, slots=True)
class UploadedModelFile:
    """A file of it, as whoever sends it has declared: `sha256` in hex is of the whole file."""

    name: str
    size: int
    sha256: str

    @property
    def parts(self) -> int:
        """How many; of an empty file none."""
        return -(-self.size // PART_BYTES)

    def part_size(self, number: int) -> int:
        """In bytes. Raises IndexError."""
        if not 0 <= number < self.parts:
            raise IndexError(number)
        return min(PART_BYTES, self.size - number * PART_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewModelUpload:
    """An upload for a model that is, or will be, called `model` (owner/name). `content` is a hash of what is
    declared: the same folder for the same model is the same upload."""

    id: str
    user_id: UUID
    model: str
    files: list[dict[str, Any]]
    content: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUpload(NewModelUpload):
    """As its row says."""

    created_at: datetime

    @property
    def source(self) -> str:
        """What a version of it has as its source."""
        return f"upload:{self.id}"

    @property
    def folder(self) -> tuple[UploadedModelFile, ...]:
        return tuple(UploadedModelFile(**each) for each in self.files)


def prefix(upload_id: str) -> str:
    """Where in the storage its parts are."""
    return f"models/{upload_id}/"


def part_key(upload_id: str, file: int, part: int) -> str:
    """Of a file, by its place in the list."""
    return f"{prefix(upload_id)}{file}/{part}"


def manifest_key(upload_id: str) -> str:
    """The list of its files, for workers."""
    return f"{prefix(upload_id)}manifest.json"


def part_of(key: str) -> tuple[int, int] | None:
    """(file, part) of a key; None of the manifest's."""
    file, _, part = key.rpartition("/")
    file = file.rpartition("/")[2]
    return (int(file), int(part)) if file.isdigit() and part.isdigit() else None


def content_hash(files: Sequence[UploadedModelFile]) -> str:
    """Of names, sizes and contents, in whatever order they are declared."""
    lines = sorted(f"{file.name}\x00{file.size}\x00{file.sha256}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def list_faults(files: Sequence[UploadedModelFile]) -> Iterator[tuple[str, str]]:
    """(field, what is wrong with it) of a list of files."""
    if not files:
        yield "files", "must name at least one file"
    names = Counter(file.name for file in files)
    folders = {parent for name in names for parent in _parents(name)}
    for i, file in enumerate(files):
        if not NAME.match(file.name):
            yield (
                f"files.{i}.name",
                f"must be a relative path {NAME_WORDS}, not {file.name[:200]!r}",
            )
        elif names[file.name] > 1 or file.name in folders:
            yield f"files.{i}.name", "is there twice, as a file or as a folder"
        if file.size < 0:
            yield f"files.{i}.size", "must not be negative"
        if not SHA256.match(file.sha256):
            yield f"files.{i}.sha256", "must be 64 hex digits in lower case"


def _parents(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name
