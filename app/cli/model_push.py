"""`lovage models push`: uploads a folder in parts, through the public API, and registers it. Broken off, the
same command goes on."""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from app.cli import screen
from app.cli.connection import EXIT_USAGE, Api, ApiError, stop
from app.domain.model_downloads import select_downloads
from app.folder_content import TooManyFilesError, walk_folder

AT_ONCE = 3  # parts
TRIES = 6  # of one part, with pauses of 1, 2, 4 … s between


@dataclass(frozen=True, slots=True)
class Part:
    """Where it goes, and where its bytes are."""

    address: str
    path: Path
    offset: int
    size: int


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


def send_part(api: Api, part: Part) -> int:
    """Its bytes, sent. Raises ApiError when that went wrong again and again."""
    with part.path.open("rb") as file:
        file.seek(part.offset)
        content = file.read(part.size)
    for attempt in range(1, TRIES + 1):
        try:
            api.ask(
                "PUT", part.address, content=content, headers={"Content-Type": "application/octet-stream"}
            )
            return part.size
        except ApiError as error:
            is_lasting = 400 <= error.status < 500 and error.status not in (408, 429)
            if is_lasting or attempt == TRIES:
                raise
            time.sleep(2 ** (attempt - 1))
    raise AssertionError


def push_folder(api: Api, folder: Path, owner: str, model: str) -> str:
    """Sends what is missing; the source for a version of it."""
    try:
        with screen.console().status(f"Reading {folder} …"):
            files = list_files(folder)
    except (ValueError, TooManyFilesError, OSError) as error:
        stop(str(error), EXIT_USAGE)
    upload = api.call("POST", f"/v1/models/{owner}/{model}/upload", json={"files": files})
    parts = list_parts(folder, upload, f"/v1/models/{owner}/{model}/upload/{upload['id']}")
    sent = upload["bytes"] - sum(part.size for part in parts)
    with Progress(console=screen.console()) as progress, ThreadPoolExecutor(AT_ONCE) as threads:
        task = progress.add_task(f"{owner}/{model}", total=upload["bytes"] or 1, completed=sent)
        try:
            for size in threads.map(lambda part: send_part(api, part), parts):
                progress.advance(task, size)
        except ApiError as error:
            threads.shutdown(wait=False, cancel_futures=True)
            stop(f"{error} The same command goes on from here.", error.code)
    return str(upload["source"])
