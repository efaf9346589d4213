"""Files in a folder. A file is written beside its place, synced and renamed, so that a crash leaves all of it
or nothing."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from app.domain.errors import StorageFailed
from app.storage.base import BLOCK, Range, checked, missing
from app.storage.signing import UrlSigner

TYPES = ".types"  # beside the files: content types, one small file each
PARTIAL = ".partial"
# A folder may be emptied, and so removed, by another process just before a file is put into it.
RENAME_TRIES = 100


class LocalStorage:
    """`folder` is made when the first file comes."""

    def __init__(self, folder: Path, signer: UrlSigner) -> None:
        self._folder, self._signer = folder.absolute(), signer

    def put(self, key: str, source: Path | bytes, content_type: str) -> None:
        target = self._folder / checked(key)
        try:
            self._write(self._folder / TYPES / key, json.dumps(content_type).encode())
            self._write(target, source)
        except OSError as error:
            raise StorageFailed(f"The file could not be stored: {error.strerror}.") from error

    def _write(self, target: Path, source: Path | bytes) -> None:
        partial = self._folder / PARTIAL
        partial.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=partial)
        try:
            with os.fdopen(handle, "wb") as out:
                if isinstance(source, bytes):
                    out.write(source)
                else:
                    with source.open("rb") as content:
                        shutil.copyfileobj(content, out, BLOCK)
                out.flush()
                os.fsync(out.fileno())
            _rename(name, target)
        except BaseException:  # the half-written file is removed, then it is raised on
            with suppress(OSError):
                os.unlink(name)
            raise

    def open(self, key: str, part: Range | None = None) -> tuple[Iterator[bytes], int, str]:
        path = self._folder / checked(key)
        try:
            stream = path.open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise missing() from error
        except OSError as error:
            raise StorageFailed(f"The file could not be read: {error.strerror}.") from error
        size = os.fstat(stream.fileno()).st_size
        first, last = part or (0, size - 1)
        return FileBlocks(stream, first, max(0, last - first + 1)), size, self._content_type(key)

    def _content_type(self, key: str) -> str:
        try:
            return str(json.loads((self._folder / TYPES / key).read_bytes()))
        except (OSError, ValueError):
            return "application/octet-stream"

    def exists(self, key: str) -> bool:
        return (self._folder / checked(key)).is_file()

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            for path in (self._folder / checked(key), self._folder / TYPES / key):
                self._unlink(path)
                self._remove_empty(path.parent)

    @staticmethod
    def _unlink(path: Path) -> None:
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if not path.is_dir():  # a folder is no file, so nothing of this name was there
                raise StorageFailed(f"The file could not be deleted: {error.strerror}.") from error

    def _remove_empty(self, folder: Path) -> None:
        while folder != self._folder and folder.is_relative_to(self._folder):
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    def list(self, prefix: str) -> Iterator[str]:
        """Walks only the deepest folder that the prefix names. Folders that vanish meanwhile are empty."""
        start = self._folder / checked(prefix.rpartition("/")[0]) if "/" in prefix else self._folder
        keys = (
            str((Path(at) / name).relative_to(self._folder))
            for at, _, names in os.walk(start)
            for name in names
        )
        hidden = (TYPES + "/", PARTIAL + "/")
        return iter(sorted(key for key in keys if key.startswith(prefix) and not key.startswith(hidden)))

    def url(self, key: str, seconds: int, base_url: str, filename: str | None = None) -> str:
        return self._signer.url(checked(key), seconds, base_url, filename)


def _rename(name: str, target: Path) -> None:
    """Renames into place. The folder is made last: a neighbour's deletion removes folders that look empty."""
    for tries in range(1, RENAME_TRIES + 1):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(name, target)
            return
        except (FileNotFoundError, FileExistsError):  # gone between two steps; mkdir raises either
            if tries == RENAME_TRIES:
                raise


class FileBlocks:
    """The bytes of a part of an open file, in blocks. The file is closed at the end, or when nobody takes the
    rest: a generator that was never begun would leave that to the interpreter."""

    def __init__(self, stream: BinaryIO, first: int, length: int) -> None:
        self._stream, self._left = stream, length
        stream.seek(first)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block = self._stream.read(min(BLOCK, self._left)) if self._left > 0 else b""
        if not block:
            self._left = 0
            self._stream.close()
            raise StopIteration
        self._left -= len(block)
        return block

    def __del__(self) -> None:
        self._stream.close()
