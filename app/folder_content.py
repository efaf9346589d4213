"""What a model's folder holds, as one hash: a version is its content, so it is taken when the version is
registered and compared whenever the version is loaded.

Knows no format. Hidden files and Python's caches are no content: tools write them beside a model.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

MOST_FILES = 2_000
# Of a large file, its first and last MiB count: gigabytes must not be read before every load.
EDGE = 1 << 20
CACHES = "__pycache__"


class TooManyFilesError(ValueError):
    """A folder with more than MOST_FILES entries."""


def walk_folder(folder: Path) -> Iterator[Path]:
    """The files that are its content, links among them, whatever they lead to."""
    for number, path in enumerate(folder.rglob("*")):
        if number > MOST_FILES:
            raise TooManyFilesError(f"has more than {MOST_FILES} files")
        parts = path.relative_to(folder).parts
        if path.is_file() and CACHES not in parts and not any(part.startswith(".") for part in parts):
            yield path


def hash_folder(folder: Path, names: Sequence[str]) -> str:
    """A hash of the names, sizes, beginnings and ends of these files, in this order."""
    digest = hashlib.sha256()
    for name in names:
        path = folder / name
        size = path.stat().st_size
        digest.update(f"{name}\x00{size}\x00".encode())
        with path.open("rb") as file:
            digest.update(file.read(EDGE))
            if size > 2 * EDGE:
                file.seek(-EDGE, 2)
            digest.update(file.read(EDGE))
    return digest.hexdigest()


def hash_objects(objects: Iterable[tuple[str, int, str]]) -> str:
    """A hash of what lies in a bucket: (name, size, ETag) of each object."""
    lines = sorted(f"{name}\x00{size}\x00{etag}\n" for name, size, etag in objects)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def join_hashes(hashes: Iterable[str]) -> str:
    """One hash of those that are there, in this order; of one, itself, and of none, ""."""
    there = [each for each in hashes if each]
    return hashlib.sha256("\n".join(there).encode()).hexdigest() if len(there) > 1 else "".join(there)


def check_unchanged(folders: Sequence[Path], fingerprint: str) -> None:
    """Raises ValueError when the folders are not what `fingerprint` was taken of; "" is of no folder."""
    if not fingerprint:
        return
    try:
        is_same = join_hashes(map(_hash_all, folders)) == fingerprint
    except (OSError, TooManyFilesError):
        is_same = False
    if not is_same:
        raise ValueError(
            "the model's folder has changed since this version was registered: register it again, which makes"
            " a new version of it, or put its files back as they were"
        )


def _hash_all(folder: Path) -> str:
    return hash_folder(folder, sorted(path.relative_to(folder).as_posix() for path in walk_folder(folder)))
