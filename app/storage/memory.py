"""Files in this process's memory: for tests, and for trying things out."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.domain.errors import StorageFailed
from app.storage.base import BLOCK, Range, checked, missing
from app.storage.signing import UrlSigner


class MemoryStorage:
    """Gone with the process; other processes see nothing of it."""

    def __init__(self, signer: UrlSigner) -> None:
        self._signer = signer
        self._files: dict[str, tuple[bytes, str]] = {}
        self._lock = threading.Lock()

    def put(self, key: str, source: Path | bytes, content_type: str) -> None:
        checked(key)
        try:
            content = source if isinstance(source, bytes) else source.read_bytes()
        except OSError as error:
            raise StorageFailed(f"The file could not be stored: {error.strerror}.") from error
        with self._lock:
            self._files[key] = (content, content_type)

    def open(self, key: str, part: Range | None = None) -> tuple[Iterator[bytes], int, str]:
        file = self._files.get(checked(key))
        if file is None:
            raise missing()
        content, content_type = file
        sent = content if part is None else content[part[0] : part[1] + 1]
        return (sent[at : at + BLOCK] for at in range(0, len(sent), BLOCK)), len(content), content_type

    def exists(self, key: str) -> bool:
        return checked(key) in self._files

    def delete(self, keys: Sequence[str]) -> None:
        with self._lock:
            for key in keys:
                self._files.pop(checked(key), None)

    def list(self, prefix: str) -> Iterator[str]:
        with self._lock:
            return iter(sorted(key for key in self._files if key.startswith(prefix)))

    def url(self, key: str, seconds: int, base_url: str, filename: str | None = None) -> str:
        return self._signer.url(checked(key), seconds, base_url, filename)
