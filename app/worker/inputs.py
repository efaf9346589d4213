"""Brings a prediction's input files into its folder: from data URIs, Lovage's own files and the web, through
the guarded client.

A field is a file when its schema says `format: uri`; lists of files are handled alike. The model sees local
paths.
"""

import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.domain.errors import InvalidRequest, NotFound, PredictionError
from app.domain.file_inputs import is_data, own_file, parse_data, takes_files
from app.outbound.deadline import CallCanceled
from app.outbound.guarded_client import GuardedClient
from app.storage.base import Storage

MOST_FILES = 4  # as large as one may be
IsCanceled = Callable[[], bool]
FindFile = Callable[[str], tuple[str, str] | None]  # file id -> (storage key, name)


class InvalidInputFile(PredictionError):
    """An input file that cannot be had or read."""

    code = "invalid_input"


class Inputs:
    """`find_file` looks a file of Lovage's own up by its id. `max_bytes` of one file; those of one prediction
    have at most MOST_FILES times that together."""

    def __init__(self, storage: Storage, find_file: FindFile, max_bytes: int, client: GuardedClient) -> None:
        self._storage, self._find_file = storage, find_file
        self._max_bytes, self._client = max_bytes, client

    def localize(
        self, values: dict[str, Any], schema: dict[str, Any], folder: Path, is_canceled: IsCanceled
    ) -> dict[str, Any]:
        """The input with every file replaced by a path in `folder`. Raises InvalidInputFile with a sentence,
        and CallCanceled soon after `is_canceled` says so."""
        local, fetching = dict(values), _Fetching(folder, self._max_bytes * MOST_FILES, is_canceled)
        for name, field in schema.get("properties", {}).items():
            value = local.get(name) if takes_files(field) else None
            if isinstance(value, str):
                local[name] = self._fetch(fetching, name, value, 0)
            elif isinstance(value, list):
                local[name] = [self._fetch(fetching, name, item, number) for number, item in enumerate(value)]
        return local

    def _fetch(self, fetching: "_Fetching", field: str, url: str, number: int) -> str:
        stem = f"in-{field}-{number}"
        try:
            if is_data(url):
                target = self._data(url, fetching.folder / stem)
            elif own := own_file(url):
                target = self._own(own, fetching, stem)
            else:
                target = self._from_web(url, fetching, stem)
            fetching.count(target)
            return str(target)
        except (ValueError, NotFound, InvalidRequest, OSError) as error:
            raise InvalidInputFile(f"{field}: {error}") from error

    @staticmethod
    def _data(url: str, stem: Path) -> Path:
        uri = parse_data(url)
        content = uri.content()
        target = stem.with_name(stem.name + (mimetypes.guess_extension(uri.media_type) or ""))
        target.write_bytes(content)
        return target

    def _from_web(self, url: str, fetching: "_Fetching", stem: str) -> Path:
        suffix = Path(urlsplit(url).path).suffix[:10]
        target = fetching.folder / (stem + (suffix if suffix.isascii() else ""))
        self._client.fetch(url, target, min(self._max_bytes, fetching.left), fetching.is_canceled)
        return target

    def _own(self, file_id: str, fetching: "_Fetching", stem: str) -> Path:
        stored = self._find_file(file_id)
        if stored is None:
            raise ValueError("names a file that does not exist or has expired")
        key, name = stored
        target = fetching.folder / (stem + Path(name).suffix[:10])
        content, _, _ = self._storage.open(key)
        with target.open("wb") as out:
            for block in content:
                if fetching.is_canceled():
                    raise CallCanceled("canceled")
                out.write(block)
        return target


class _Fetching:
    """The files of one prediction: where they go, how many bytes more they may have."""

    def __init__(self, folder: Path, most: int, is_canceled: IsCanceled) -> None:
        self.folder, self.is_canceled = folder, is_canceled
        self.left = self._most = most

    def count(self, file: Path) -> None:
        self.left -= file.stat().st_size
        if self.left < 0:
            raise ValueError(f"the files of one prediction may have at most {self._most} bytes together")
