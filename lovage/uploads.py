"""A model's folder, uploaded in parts that are checked by their SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from app.domain.model_downloads import select_downloads
from app.folder_content import walk_folder
from lovage.resources import model_path

if TYPE_CHECKING:
    from lovage.client import Client

AT_ONCE = 3  # parts


@dataclass(frozen=True, slots=True)
class Part:
    """Where it goes, and where its bytes are."""

    address: str
    path: Path
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be sent: the parts that are missing, of `total` bytes. `source`: for a version of it."""

    source: str
    parts: list[Part]
    total: int

    @property
    def missing(self) -> int:
        return sum(part.size for part in self.parts)


def list_files(folder: Path) -> list[dict[str, Any]]:
    """Name, size and SHA-256 of what a worker would load of it. Raises ValueError."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in walk_folder(folder)}
    names = [name for name, _ in select_downloads(sorted(sizes.items()))]
    if not names:
        raise ValueError(f"{folder} holds no files that a model is loaded from")
    return [{"name": name, "size": sizes[name], "sha256": hash_file(folder / name)} for name in names]


def hash_file(path: Path) -> str:
    """SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plan(client: Client, folder: Path, name: str) -> Plan:
    """As `begin`, of all files of the folder. Raises ValueError, LovageError."""
    return begin(client, list_files(folder), folder, name)


def begin(client: Client, files: list[dict[str, Any]], folder: Path, name: str) -> Plan:
    """Begins the upload, or goes on with the one that there is. Raises LovageError."""
    address = f"{model_path(name)}/upload"
    upload = client.request("POST", address, json={"files": files}, may_repeat=True)
    parts = list_parts(folder, upload, f"{address}/{upload['id']}")
    return Plan(upload["source"], parts, upload["bytes"])


def list_parts(folder: Path, upload: dict[str, Any], address: str) -> list[Part]:
    """Those that are still missing."""
    size = upload["part_bytes"]
    return [
        Part(
            f"{address}/{i}/{part}", folder / file["name"], part * size, min(size, file["size"] - part * size)
        )
        for i, file in enumerate(upload["files"])
        for part in file["missing"]
    ]


def send_parts(client: Client, parts: list[Part], on_sent: Callable[[int], None]) -> None:
    """All of them, AT_ONCE at a time, each tried again where that may help; `on_sent` gets the bytes of
    each. Broken off, it waits for the parts under way only. Raises LovageError."""
    stopping = Event()

    def send(part: Part) -> int:
        return 0 if stopping.is_set() else _send_part(client, part)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        try:
            for future in as_completed([threads.submit(send, part) for part in parts]):
                on_sent(future.result())
        finally:
            stopping.set()
            threads.shutdown(wait=False, cancel_futures=True)


def _send_part(client: Client, part: Part) -> int:
    with part.path.open("rb") as file:
        file.seek(part.offset)
        content = file.read(part.size)
    client.request("PUT", part.address, content=content, headers={"Content-Type": "application/octet-stream"})
    return part.size
