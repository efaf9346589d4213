"""`lovage models push`: uploads a folder in parts, through the public API, and registers it. Broken off, the
same command goes on."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event

from rich.progress import Progress

from app.cli import screen
from app.cli.connection import EXIT_CANCELED, EXIT_USAGE, Api, ApiError, stop
from app.domain.versions import NAME_RULE, is_name
from app.folder_content import TooManyFilesError
from lovage.uploads import AT_ONCE, Part, list_files, list_parts

TRIES = 6  # of one part, with pauses of 1, 2, 4 … s between


def send_part(api: Api, part: Part, stopping: Event) -> int:
    """Its bytes, sent. Raises ApiError when that went wrong again and again, or when all is stopping."""
    with part.path.open("rb") as file:
        file.seek(part.offset)
        content = file.read(part.size)
    headers = {"Content-Type": "application/octet-stream"}
    for attempt in range(1, TRIES + 1):
        try:
            api.ask("PUT", part.address, content=content, headers=headers)
            return part.size
        except ApiError as error:
            is_lasting = 400 <= error.status < 500 and error.status not in (408, 429)
            if is_lasting or attempt == TRIES or stopping.wait(2 ** (attempt - 1)):
                raise
    raise AssertionError


def send_parts(api: Api, parts: list[Part], sent: Callable[[int], None]) -> None:
    """All of them, AT_ONCE at a time; `sent` gets the bytes of each. Broken off, it waits for the parts
    under way only. Raises ApiError."""
    stopping = Event()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        try:
            for future in as_completed([threads.submit(send_part, api, part, stopping) for part in parts]):
                sent(future.result())
        finally:
            stopping.set()
            threads.shutdown(wait=False, cancel_futures=True)


def push_folder(api: Api, folder: Path, owner: str, model: str) -> str:
    """Sends what is missing; the source for a version of it."""
    if not is_name(model):
        stop(f"--name: {model!r} {NAME_RULE}", EXIT_USAGE)
    try:
        with screen.console(stderr=True).status(f"Reading {folder} …"):
            files = list_files(folder)
    except TooManyFilesError as error:
        stop(f"{folder} {error}", EXIT_USAGE)
    except (ValueError, OSError) as error:
        stop(str(error), EXIT_USAGE)
    upload = api.call("POST", f"/v1/models/{owner}/{model}/upload", json={"files": files})
    parts = list_parts(folder, upload, f"/v1/models/{owner}/{model}/upload/{upload['id']}")
    total, missing = upload["bytes"], sum(part.size for part in parts)
    with Progress(console=screen.console(stderr=True)) as progress:
        task = progress.add_task(f"{owner}/{model}", total=total, completed=total - missing)
        try:
            send_parts(api, parts, lambda size: progress.advance(task, size))
        except ApiError as error:
            stop(f"{error} The same command goes on from here.", error.code)
        except KeyboardInterrupt:
            stop("stopped; the same command goes on from here", EXIT_CANCELED)
        except OSError as error:
            stop(f"{error}: the folder changed meanwhile; send it again", EXIT_USAGE)
    return str(upload["source"])
