"""Brings a prediction's input files into its folder: from data URIs, Lovage's own files and the web, through
the guarded client.

A field is a file when its schema says `format: uri`; lists of files are handled alike. The model sees local
paths.
"""

import base64
import binascii
import mimetypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from app.domain.errors import InvalidRequest, NotFound, PredictionError
from app.domain.file_inputs import is_data, own_file, takes_files
from app.outbound.guard import fetch
from app.storage.base import Storage

DATA_URI = re.compile(
    r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?P<params>(?:;[\w=.+-]+)*?)(?P<base64>;base64)?,", re.I
)
FindFile = Callable[[str], tuple[str, str] | None]  # file id -> (storage key, name)


class InvalidInputFile(PredictionError):
    """An input file that cannot be had or read."""

    code = "invalid_input"


class Inputs:
    """`find_file` looks a file of Lovage's own up by its id. `max_bytes` of a file from the web;
    `allow_private`: see the guard."""

    def __init__(self, storage: Storage, find_file: FindFile, max_bytes: int, allow_private: bool) -> None:
        self._storage, self._find_file = storage, find_file
        self._max_bytes, self._allow_private = max_bytes, allow_private

    def localize(self, values: dict[str, Any], schema: dict[str, Any], folder: Path) -> dict[str, Any]:
        """The input with every file replaced by a path in `folder`. Raises InvalidInputFile with a
        sentence."""
        local = dict(values)
        for name, field in schema.get("properties", {}).items():
            value = local.get(name) if takes_files(field) else None
            if isinstance(value, str):
                local[name] = self._fetch(name, value, folder, 0)
            elif isinstance(value, list):
                local[name] = [self._fetch(name, item, folder, number) for number, item in enumerate(value)]
        return local

    def _fetch(self, field: str, url: str, folder: Path, number: int) -> str:
        try:
            if is_data(url):
                return str(self._data(url, folder / f"in-{field}-{number}"))
            if own := own_file(url):
                return str(self._own(own, folder, f"in-{field}-{number}"))
            suffix = Path(urlsplit(url).path).suffix[:10]
            target = folder / f"in-{field}-{number}{suffix if suffix.isascii() else ''}"
            fetch(url, target, self._max_bytes, self._allow_private)
            return str(target)
        except (ValueError, NotFound, InvalidRequest, OSError) as error:
            raise InvalidInputFile(f"{field}: {error}") from error

    @staticmethod
    def _data(url: str, stem: Path) -> Path:
        match = DATA_URI.match(url)
        if match is None:
            raise ValueError("is not a valid data URI")
        raw = url[match.end() :]
        try:
            content = base64.b64decode(raw, validate=True) if match["base64"] else unquote_to_bytes(raw)
        except binascii.Error as error:
            raise ValueError("is not valid base64") from error
        target = stem.with_name(stem.name + (mimetypes.guess_extension(match["type"] or "") or ""))
        target.write_bytes(content)
        return target

    def _own(self, file_id: str, folder: Path, stem: str) -> Path:
        stored = self._find_file(file_id)
        if stored is None:
            raise ValueError("names a file that does not exist or has expired")
        key, name = stored
        target = folder / (stem + Path(name).suffix[:10])
        content, _, _ = self._storage.open(key)
        with target.open("wb") as out:
            for block in content:
                out.write(block)
        return target
